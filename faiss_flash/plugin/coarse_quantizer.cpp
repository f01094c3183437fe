#include <faiss_flash/plugin/coarse_quantizer.h>

#include <faiss/IndexFlat.h>
#include <faiss_flash/Clustering.h>
#include <faiss_flash/plugin/errors.h>
#include <faiss_flash/plugin/train_parts.h>

#include <cstdio>

namespace faiss_flash {

namespace {

/// Mode 0: the quantizer itself is the clustering's index.
void train_by_itself(faiss::IndexIVF& ivf, int64_t n, const float* x, const Service& service) {
    faiss::Index& quantizer = *ivf.quantizer;
    Clustering clustering(quantizer.d, static_cast<int>(ivf.nlist), ivf.cp);
    clustering.device = service.device;
    clustering.algorithm = service.algorithm;
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
void train_then_add(faiss::IndexIVF& ivf, int64_t n, const float* x, const Service& service) {
    require(ivf.metric_type == faiss::METRIC_L2 ||
                    (ivf.metric_type == faiss::METRIC_INNER_PRODUCT && ivf.cp.spherical),
            "quantizer_trains_alone=2 needs metric_type L2, or inner product with cp.spherical");
    faiss::Index& quantizer = *ivf.quantizer;
    require(quantizer.ntotal == 0,
            "quantizer.ntotal=" + std::to_string(quantizer.ntotal) + " is neither 0 nor nlist=" +
                    std::to_string(ivf.nlist) + ": with quantizer_trains_alone=2 it is added to");
    Clustering clustering(quantizer.d, static_cast<int>(ivf.nlist), ivf.cp);
    clustering.device = service.device;
    clustering.algorithm = service.algorithm;
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
        faiss::IndexIVF& ivf, int64_t n, const float* x, const Service& service) {
    faiss::Index& quantizer = *ivf.quantizer;
    if (quantizer.is_trained && quantizer.ntotal == static_cast<int64_t>(ivf.nlist)) {
        return;
    }
    if (ivf.quantizer_trains_alone == 1) {
        quantizer.verbose = ivf.verbose;
        train_part(quantizer, n, x, service);
        return;
    }
    if (ivf.verbose) {
        std::printf(
                "Training level-1 quantizer on %lld vectors in %dD\n",
                static_cast<long long>(n),
                quantizer.d);
    }
    if (ivf.quantizer_trains_alone == 2) {
        train_then_add(ivf, n, x, service);
    } else {
        train_by_itself(ivf, n, x, service);
    }
}

} // namespace faiss_flash
