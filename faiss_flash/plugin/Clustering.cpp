#include <faiss_flash/Clustering.h>

#include <faiss/IndexFlat.h>
#include <faiss_flash/kmeans.h>
#include <faiss_flash/plugin/caller_rows.h>
#include <faiss_flash/plugin/errors.h>
#include <faiss_flash/plugin/flat_index.h>
#include <faiss_flash/plugin/options.h>
#include <faiss_flash/plugin/trained_state.h>

#include <algorithm>
#include <limits>
#include <string>
#include <utility>
#include <vector>

namespace faiss_flash {

namespace {

/// Lets the engine read vectors in an index's stand-alone code.
class CodecDecoder final : public RowDecoder {
   public:
    explicit CodecDecoder(const faiss::Index& codec) : codec_(codec) {}
    void decode(int64_t n, const uint8_t* codes, float* out) const override {
        codec_.sa_decode(n, codes, out);
    }

   private:
    const faiss::Index& codec_;
};

bool engine_runs(const faiss::ClusteringParameters& cp, const faiss::Index& index) {
    return engine_takes(cp) && as_flat(index) != nullptr;
}

faiss::ClusteringIterationStats to_faiss(const IterationStats& stats) {
    faiss::ClusteringIterationStats converted;
    // Beyond float's range the field says so; the engine's own objective is a double.
    converted.obj = static_cast<float>(stats.objective);
    converted.time = stats.time;
    converted.time_search = stats.time_search;
    converted.imbalance_factor = stats.imbalance_factor;
    converted.nsplit = static_cast<int>(stats.nsplit);
    return converted;
}

void check_dimension(const char* name, int64_t d, int64_t expected) {
    require(d == expected,
            std::string(name) + ".d=" + std::to_string(d) +
                    " does not match the clustering's d=" + std::to_string(expected));
}

void train_by_engine(
        Clustering& clustering,
        int64_t nx,
        const uint8_t* x_in,
        const faiss::Index* codec,
        faiss::Index& index,
        const float* weights) {
    const auto d = static_cast<int64_t>(clustering.d);
    check_dimension("index", index.d, d);
    KMeansInput input;
    input.points.data = x_in;
    input.points.n = nx;
    input.points.d = d;
    std::vector<CodecDecoder> decoder;
    if (codec) {
        check_dimension("codec", codec->d, d);
        decoder.emplace_back(*codec);
        input.points.decoder = decoder.data();
        input.points.row_stride = static_cast<int64_t>(codec->sa_code_size());
    }
    if (weights) {
        input.weights = VectorView::of(weights, nx, 1);
    }
    const auto given = static_cast<int64_t>(clustering.centroids.size());
    if (given > 0) {
        require(d > 0 && given % d == 0,
                "size of provided input centroids (" + std::to_string(given) +
                        ") not a multiple of dimension (d=" + std::to_string(d) + ")");
        input.initial_centroids = VectorView::of(clustering.centroids.data(), given / d, d);
    }
    const auto k = static_cast<int64_t>(clustering.k);
    const auto options = engine_options(
            clustering,
            engine_metric(index.metric_type),
            {clustering.device, clustering.algorithm});
    KMeansResult result = naming_rows(
            input.points, codec ? "x_in" : "x", [&] { return kmeans(input, k, options); });

    int64_t decided = 0;
    for (const IterationStats& iteration : result.iterations) {
        clustering.iteration_stats.push_back(to_faiss(iteration));
        decided += iteration.decided;
    }
    index.reset();
    index.add(k, result.centroids.data());
    clustering.centroids.swap(result.centroids);
    clustering.decided = decided;
}

} // namespace

Clustering::Clustering(int d_in, int k_in) : faiss::Clustering(d_in, k_in) {}

Clustering::Clustering(int d_in, int k_in, const faiss::ClusteringParameters& cp)
    : faiss::Clustering(d_in, k_in, cp) {}

void Clustering::train(int64_t n, const float* x, faiss::Index& index, const float* x_weights) {
    train_encoded(n, reinterpret_cast<const uint8_t*>(x), nullptr, index, x_weights);
}

void Clustering::train_encoded(
        int64_t nx,
        const uint8_t* x_in,
        const faiss::Index* codec,
        faiss::Index& index,
        const float* weights) {
    Undo undo;
    undo.keep(centroids);
    undo.keep(iteration_stats);
    undo.keep(index.is_trained);
    keep_vectors(undo, index);
    if (engine_runs(*this, index)) {
        train_by_engine(*this, nx, x_in, codec, index, weights);
    } else {
        if (!codec) {
            require_finite(nx, reinterpret_cast<const float*>(x_in), static_cast<int64_t>(d));
        }
        faiss::Clustering::train_encoded(nx, x_in, codec, index, weights);
    }
    undo.commit();
}

float kmeans_clustering(size_t d, size_t n, size_t k, const float* x, float* centroids) {
    constexpr auto kMaxInt = static_cast<size_t>(std::numeric_limits<int>::max());
    require(d <= kMaxInt, "d=" + std::to_string(d) + " exceeds 2^31 - 1");
    require(k <= kMaxInt, "k=" + std::to_string(k) + " exceeds 2^31 - 1");
    require(centroids != nullptr, "centroids is null");
    Clustering clustering(static_cast<int>(d), static_cast<int>(k));
    clustering.verbose = static_cast<double>(d) * static_cast<double>(n) * static_cast<double>(k) >
                         0x1p30; // as FAISS
    faiss::IndexFlatL2 index(static_cast<int64_t>(d));
    clustering.train(static_cast<int64_t>(n), x, index);
    std::copy(clustering.centroids.begin(), clustering.centroids.end(), centroids);
    return clustering.iteration_stats.back().obj;
}

} // namespace faiss_flash
