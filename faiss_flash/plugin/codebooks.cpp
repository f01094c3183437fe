#include <faiss_flash/plugin/codebooks.h>

#include <faiss_flash/ProductQuantizer.h>
#include <faiss_flash/kmeans.h>
#include <faiss_flash/plugin/caller_rows.h>
#include <faiss_flash/plugin/errors.h>
#include <faiss_flash/plugin/options.h>

#include <algorithm>
#include <string>

namespace faiss_flash {

namespace {

using Quantizer = faiss::ProductQuantizer;

bool engine_trains(const Quantizer& pq) {
    const bool known = pq.train_type == Quantizer::Train_default ||
                       pq.train_type == Quantizer::Train_hot_start ||
                       pq.train_type == Quantizer::Train_shared;
    return known && !pq.assign_index && engine_takes(pq.cp);
}

/// One clustering of all the parts of all vectors.
std::vector<float> shared_codebook(
        const Quantizer& pq, int64_t n, const float* x, const KMeansOptions& options) {
    KMeansInput input;
    const auto parts = static_cast<int64_t>(pq.M);
    input.points = VectorView::of(x, n * parts, static_cast<int64_t>(pq.dsub));
    const KMeansResult result = kmeans(input, static_cast<int64_t>(pq.ksub), options);
    std::vector<float> codebook;
    for (size_t m = 0; m < pq.M; m++) {
        codebook.insert(codebook.end(), result.centroids.begin(), result.centroids.end());
    }
    return codebook;
}

std::vector<float> codebook_of(
        const Quantizer& pq, int64_t n, const float* x, const std::string& device) {
    // Also where e-means is asked for: in few columns it does not come to the same objective
    // (bench/NOTES.md), and a GPU runs Lloyd's problems together.
    KMeansOptions options = engine_options(pq.cp, Metric::l2, {device, "lloyd"});
    options.verbose = options.verbose || pq.verbose;
    if (pq.train_type == Quantizer::Train_shared) {
        return shared_codebook(pq, n, x, options);
    }
    const auto dsub = static_cast<int64_t>(pq.dsub);
    const auto ksub = static_cast<int64_t>(pq.ksub);
    std::vector<KMeansInput> problems(pq.M);
    for (size_t m = 0; m < pq.M; m++) {
        KMeansInput& problem = problems[m];
        problem.points = VectorView::of(x + m * pq.dsub, n, dsub);
        problem.points.row_stride = static_cast<int64_t>(pq.d * sizeof(float));
        if (pq.train_type == Quantizer::Train_hot_start) {
            const float* first = pq.centroids.data() + m * pq.ksub * pq.dsub;
            problem.initial_centroids = VectorView::of(first, ksub, dsub);
        }
    }
    std::vector<float> codebook;
    for (const KMeansResult& result : batch_kmeans(problems, ksub, options)) {
        codebook.insert(codebook.end(), result.centroids.begin(), result.centroids.end());
    }
    return codebook;
}

} // namespace

void train(Quantizer& pq, int64_t n, const float* x, const std::string& device) {
    const VectorView rows = VectorView::of(x, n, static_cast<int64_t>(pq.d));
    if (engine_trains(pq)) {
        pq.centroids = naming_rows(rows, "x", [&] { return codebook_of(pq, n, x, device); });
    } else {
        require_finite(n, x, rows.d);
        Undo undo;
        undo.keep(pq);
        pq.train(static_cast<size_t>(n), x);
        undo.commit();
    }
}

void put_codebook(
        Undo& parameters, Quantizer& pq, int64_t n, const float* x, const std::string& device) {
    if (engine_trains(pq)) {
        train(pq, n, x, device);
        parameters.keep(pq.train_type);
        parameters.keep(pq.cp.niter);
        pq.train_type = Quantizer::Train_hot_start;
        pq.cp.niter = 0;
    }
}

std::vector<float> rest_after(const Quantizer& pq, int64_t n, const float* x) {
    const auto rows = static_cast<size_t>(n);
    std::vector<uint8_t> codes(rows * pq.code_size);
    std::vector<float> rest(rows * pq.d);
    pq.compute_codes(x, codes.data(), rows);
    pq.decode(codes.data(), rest.data(), rows);
    std::transform(x, x + rest.size(), rest.begin(), rest.begin(), std::minus<>());
    return rest;
}

} // namespace faiss_flash
