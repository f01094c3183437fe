#include <faiss_flash/plugin/coarse_quantizer.h>

#include <faiss/IndexFlat.h>
#include <faiss/IndexPQ.h>
#include <faiss_flash/Clustering.h>
#include <faiss_flash/plugin/errors.h>
#include <faiss_flash/plugin/flat_index.h>
#include <faiss_flash/train.h>

#include <cstdio>
#include <vector>

namespace faiss_flash {

namespace {

/// Puts a flat quantizer back unless the training succeeds.
class QuantizerRollback {
   public:
    explicit QuantizerRollback(faiss::Index& quantizer)
        : quantizer_(quantizer),
          flat_(as_flat(quantizer) != nullptr),
          was_trained_(quantizer.is_trained) {
        if (flat_) {
            vectors_.resize(static_cast<size_t>(quantizer.ntotal * quantizer.d));
            if (quantizer.ntotal > 0) {
                quantizer.reconstruct_n(0, quantizer.ntotal, vectors_.data());
            }
        }
    }
    ~QuantizerRollback() {
        if (done_ || !flat_) {
            return;
        }
        try {
            quantizer_.reset();
            if (!vectors_.empty()) {
                const auto count = static_cast<int64_t>(vectors_.size()) / quantizer_.d;
                quantizer_.add(count, vectors_.data());
            }
        } catch (...) { // out of memory while unwinding: there is nothing left to put back
        }
        quantizer_.is_trained = was_trained_;
    }
    QuantizerRollback(const QuantizerRollback&) = delete;
    QuantizerRollback& operator=(const QuantizerRollback&) = delete;

    void commit() { done_ = true; }

   private:
    faiss::Index& quantizer_;
    const bool flat_;
    const bool was_trained_;
    std::vector<float> vectors_;
    bool done_ = false;
};

/// Mode 0: the quantizer itself is the clustering's index.
void train_by_itself(faiss::IndexIVF& ivf, int64_t n, const float* x, const std::string& device) {
    faiss::Index& quantizer = *ivf.quantizer;
    Clustering clustering(quantizer.d, static_cast<int>(ivf.nlist), ivf.cp);
    clustering.device = device;
    if (ivf.clustering_index) {
        clustering.train(n, x, *ivf.clustering_index);
        quantizer.reset();
        quantizer.add(static_cast<int64_t>(ivf.nlist), clustering.centroids.data());
    } else {
        clustering.train(n, x, quantizer);
    }
    quantizer.is_trained = true;
}

/// Mode 2: centroids from a flat index are added to a quantizer of any kind.
void train_then_add(faiss::IndexIVF& ivf, int64_t n, const float* x, const std::string& device) {
    require(ivf.metric_type == faiss::METRIC_L2 ||
                    (ivf.metric_type == faiss::METRIC_INNER_PRODUCT && ivf.cp.spherical),
            "quantizer_trains_alone=2 needs metric_type L2, or inner product with cp.spherical");
    faiss::Index& quantizer = *ivf.quantizer;
    Clustering clustering(quantizer.d, static_cast<int>(ivf.nlist), ivf.cp);
    clustering.device = device;
    faiss::IndexFlatL2 flat(quantizer.d);
    clustering.train(n, x, ivf.clustering_index ? *ivf.clustering_index : flat);
    const auto nlist = static_cast<int64_t>(ivf.nlist);
    if (!quantizer.is_trained) {
        quantizer.train(nlist, clustering.centroids.data());
    }
    quantizer.add(nlist, clustering.centroids.data());
}

} // namespace

void train_coarse_quantizer(
        faiss::IndexIVF& ivf,
        int64_t n,
        const float* x,
        const std::string& device,
        const std::function<void()>& finish) {
    require(ivf.quantizer != nullptr, "quantizer is null");
    require(x != nullptr, "x is null with n=" + std::to_string(n));
    QuantizerRollback rollback(*ivf.quantizer);
    const bool full =
            ivf.quantizer->is_trained && ivf.quantizer->ntotal == static_cast<int64_t>(ivf.nlist);
    if (!full && ivf.quantizer_trains_alone != 1) {
        if (ivf.verbose) {
            std::printf(
                    "Training level-1 quantizer on %lld vectors in %dD\n",
                    static_cast<long long>(n),
                    ivf.quantizer->d);
        }
        if (ivf.quantizer_trains_alone == 2) {
            train_then_add(ivf, n, x, device);
        } else {
            train_by_itself(ivf, n, x, device);
        }
    } else if (!full) {
        if (auto* multi = dynamic_cast<faiss::MultiIndexQuantizer*>(ivf.quantizer)) {
            train(*multi, n, x, device);
        }
    }
    finish();
    rollback.commit();
}

} // namespace faiss_flash
