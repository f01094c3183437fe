/// The end of an iteration on the device: the next centroids, and what is told about the clusters.
#pragma once

#include <faiss_flash/core/backend.h>

#include <cuda_runtime_api.h>

#include <cstdint>

namespace faiss_flash::cuda {

/// What an iteration tells the host.
struct ClusterStats {
    double objective;
    double squares;  ///< sum of the sizes' squares
    int64_t decided; ///< points that float64 decided
    int64_t empty;   ///< clusters without weight that are not frozen
};

/// next [k x d]: the frozen rows of `centroids`, the means after the rules for the others; as
/// core's apply_rules(), bit for bit.
void next_centroids(
        const float* centroids,
        const float* means,
        const CentroidRules& rules,
        int64_t k,
        int64_t d,
        float* next,
        cudaStream_t stream);

/// Fills squares and empty.
void describe_clusters(
        const int64_t* sizes,
        const double* weights,
        int64_t frozen,
        int64_t k,
        ClusterStats* stats,
        cudaStream_t stream);

} // namespace faiss_flash::cuda
