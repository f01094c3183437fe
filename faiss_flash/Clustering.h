/// faiss::Clustering on the faiss_flash engine: same fields, same results, same side effects.
#pragma once

#include <faiss/Clustering.h>

#include <cstddef>
#include <cstdint>
#include <string>

namespace faiss_flash {

/// Drop-in for faiss::Clustering. Deviations are listed in faiss_flash/plugin/README.md.
///
/// The engine runs where the index is a flat one (faiss::IndexFlat, IndexFlatL2, IndexFlatIP or
/// this library's) with the L2 or the inner product metric. Any other index is part of what the
/// caller asked for (an HNSW assigner, a GPU index, a class of his own, another metric) and is
/// given to faiss::Clustering itself; so are init_methods other than RANDOM (FAISS >= 1.14).
///
/// Errors are faiss::FaissException. A training that fails leaves centroids, iteration_stats and
/// the index as they were.
struct Clustering : faiss::Clustering {
    /// Points of the last training, over all its iterations, whose centroid float64 decided.
    int64_t decided = 0;
    /// Where the engine runs: see KMeansOptions::device.
    std::string device = "auto";
    /// "lloyd"; "e_means": min(niter, 3) passes over the points in batches, which come to the
    /// objective of 25 of Lloyd's iterations (Algorithm::e_means); iteration_stats are those of the
    /// passes, obj seen while centroids moved. "default": what the environment variable
    /// FAISS_FLASH_ALGORITHM says, else lloyd.
    std::string algorithm = "default";

    Clustering(int d, int k);
    Clustering(int d, int k, const faiss::ClusteringParameters& cp);

    /// @param n          training vectors, at least k
    /// @param x          [n x d], finite
    /// @param index      flat index of dimension d; holds the k centroids at return
    /// @param x_weights  [n] or null; finite, not negative, not all 0
    void train(int64_t n, const float* x, faiss::Index& index, const float* x_weights = nullptr)
            override;

    /// The same over encoded vectors: rows of codec->sa_code_size() bytes, or float32 when codec is
    /// null. Hides faiss::Clustering's, which is not virtual: call it through this class.
    void train_encoded(
            int64_t nx,
            const uint8_t* x_in,
            const faiss::Index* codec,
            faiss::Index& index,
            const float* weights = nullptr);
};

/// faiss::kmeans_clustering on the engine: k centroids [k x d] of x [n x d] by squared distance, 25
/// iterations. Returns the last objective.
float kmeans_clustering(size_t d, size_t n, size_t k, const float* x, float* centroids);

} // namespace faiss_flash
