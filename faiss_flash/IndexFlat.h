/// Flat indexes for use as coarse quantizers: exact k = 1 search and k-means on the engine.
#pragma once

#include <faiss/Clustering.h>
#include <faiss/IndexFlat.h>

#include <cstddef>
#include <cstdint>
#include <string>

namespace faiss_flash {

/// faiss::IndexFlatL2 whose search with k = 1, and so assign() and any IVF's add(), goes through
/// the fused assignment: the ids are those of exact arithmetic. Calls with fewer than 512, or 4 d,
/// rows go to FAISS, in float32, which is faster then. A query with a NaN or an Inf gets the id -1.
/// Cloned, and written by faiss::write_index, as a plain flat index.
struct IndexFlatL2 : faiss::IndexFlatL2 {
    /// Centroids that train() makes; 0 = train() does nothing, as in FAISS. Set it to the IVF's
    /// nlist to use the index with quantizer_trains_alone = 1; a clone or a file of an IVF that is
    /// not trained yet cannot train then: its quantizer is a plain one.
    size_t nlist = 0;
    faiss::ClusteringParameters cp; ///< of train()
    /// Where the engine runs: see KMeansOptions::device.
    std::string device = "auto";
    std::string algorithm = "default"; ///< of train(): see Clustering::algorithm

    IndexFlatL2() = default;
    explicit IndexFlatL2(int64_t d, size_t nlist = 0);

    /// With nlist > 0: clusters x [n x d] and holds the nlist centroids afterwards.
    void train(int64_t n, const float* x) override;

    /// With k = 1, for rows to be added: one with a NaN or an Inf is rejected, as x[row][column].
    void assign(int64_t n, const float* x, int64_t* labels, int64_t k = 1) const override;

    void search(
            int64_t n,
            const float* x,
            int64_t k,
            float* distances,
            int64_t* labels,
            const faiss::SearchParameters* params = nullptr) const override;
};

/// The same for the inner product; its centroids are normalised (cp.spherical).
struct IndexFlatIP : faiss::IndexFlatIP {
    size_t nlist = 0;                  ///< as in IndexFlatL2
    faiss::ClusteringParameters cp;    ///< of train()
    std::string device = "auto";       ///< as in IndexFlatL2
    std::string algorithm = "default"; ///< as in IndexFlatL2

    IndexFlatIP();
    explicit IndexFlatIP(int64_t d, size_t nlist = 0);

    void train(int64_t n, const float* x) override;

    /// With k = 1, for rows to be added: one with a NaN or an Inf is rejected, as x[row][column].
    void assign(int64_t n, const float* x, int64_t* labels, int64_t k = 1) const override;

    void search(
            int64_t n,
            const float* x,
            int64_t k,
            float* distances,
            int64_t* labels,
            const faiss::SearchParameters* params = nullptr) const override;
};

} // namespace faiss_flash
