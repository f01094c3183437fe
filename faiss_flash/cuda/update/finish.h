/// The end of an iteration on the device: the next centroids, and what is told about the clusters.
#pragma once

#include <faiss_flash/core/shard.h>

#include <cuda_runtime_api.h>

#include <cstdint>

namespace faiss_flash::cuda {

/// What an iteration tells the host.
struct ClusterStats {
    double objective;
    double squares; ///< sum of the sizes' squares
    IterationCounts counts;
    int64_t empty; ///< clusters without weight that are not frozen
};

/// Arrays of one iteration of `batch` problems, on the device.
struct IterationArrays {
    const float* centroids;      ///< [batch x k x d] that the iteration started from
    const float* means;          ///< [batch x k x d]
    const int64_t* sizes;        ///< [batch x k]
    const double* weights;       ///< [batch x k]
    const DoubleDouble* squares; ///< [batch] of the points, or null for products
    const DoubleDouble* gains;   ///< [batch x k] of the clusters, or null where
    LongSum* values;             ///< the points' values have been added up; read and cleared
    IterationCounts* counts;     ///< [batch], read and cleared
};

/// next [batch x k x d]: the frozen rows of the centroids, the means after the rules for the
/// others, as core's apply_rules(), bit for bit. stats [batch] may be page-locked memory of the
/// host.
void finish_iteration(
        const IterationArrays& arrays,
        const CentroidRules& rules,
        int64_t batch,
        int64_t k,
        int64_t d,
        float* next,
        ClusterStats* stats,
        cudaStream_t stream);

/// centroids [rows x d]: the means after the rules, as core's apply_rules(), bit for bit. They may
/// be the same array.
void apply_rules(
        const CentroidRules& rules,
        int64_t rows,
        int64_t d,
        const float* means,
        float* centroids,
        cudaStream_t stream);

/// Core's apply_splits(), bit for bit, of centroids [k x d]; all arrays are the device's.
void apply_splits(
        const Split* splits, int64_t count, int64_t d, float* centroids, cudaStream_t stream);

} // namespace faiss_flash::cuda
