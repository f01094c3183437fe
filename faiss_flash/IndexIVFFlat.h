/// faiss::IndexIVFFlat that trains its coarse quantizer and assigns added vectors on the engine.
#pragma once

#include <faiss/IndexIVFFlat.h>

#include <cstddef>
#include <cstdint>
#include <string>

namespace faiss_flash {

/// Drop-in for faiss::IndexIVFFlat: an ordinary one to every function of FAISS, written and cloned
/// as one. The inverted lists are those of faiss::IndexIVFFlat with the same centroids, but for
/// vectors whose nearest centroid float32 arithmetic gets wrong.
struct IndexIVFFlat : faiss::IndexIVFFlat {
    /// Where the engine runs: see KMeansOptions::device.
    std::string device = "auto";
    std::string algorithm = "default"; ///< of train(): see Clustering::algorithm

    IndexIVFFlat() = default;
    IndexIVFFlat(
            faiss::Index* quantizer,
            size_t d,
            size_t nlist,
            faiss::MetricType metric = faiss::METRIC_L2);

    /// Trains the quantizer as quantizer_trains_alone, cp and clustering_index say, by
    /// faiss_flash::Clustering. A training that fails leaves index and quantizer as they were.
    void train(int64_t n, const float* x) override;

    /// Vectors with a NaN or an Inf are rejected, as x[row][column], and nothing is added;
    /// faiss::IndexIVFFlat drops them silently. Few vectors are assigned by FAISS, see add().
    void add_with_ids(int64_t n, const float* x, const int64_t* xids) override;

    /// Accepts a plain faiss::IndexIVFFlat too.
    void check_compatible_for_merge(const faiss::Index& otherIndex) const override;
};

} // namespace faiss_flash
