/// What e-means does to the averages beside moving them (core/moving_averages.h), on the device.
#pragma once

#include <faiss_flash/core/moving_averages.h>
#include <faiss_flash/cuda/runtime/arena.h>
#include <faiss_flash/cuda/update/finish.h>
#include <faiss_flash/cuda/update/sum_format.h>

#include <cuda_runtime_api.h>

#include <cstdint>

namespace faiss_flash::cuda {

/// Memory of revive() for k clusters.
struct ReviveWorkspace {
    ReviveWorkspace(int64_t k, Arena& arena);

    int64_t* ends;       ///< [k] of a donor's numbers
    int32_t* first_draw; ///< [k] of a donor
    int32_t* revived;    ///< [k]
    int2* pairs;         ///< [k] a revived cluster and its donor
    int32_t* count;      ///< one: pairs
};

/// The averages of centroids [k x d]: usage kFirstUsage each.
void begin_averages(
        const float* centroids,
        int64_t k,
        int64_t d,
        const AverageArrays& averages,
        cudaStream_t stream);

/// Gives clusters of little usage half of others, but for the frozen ones: choose_donors(). Their
/// centroids [k x d] follow; stats->revived is told.
/// @param scale  usage_scale()
void revive(
        const AverageArrays& averages,
        int64_t k,
        int64_t d,
        int64_t frozen,
        double scale,
        uint64_t seed,
        const ReviveWorkspace& workspace,
        float* centroids,
        ClusterStats* stats,
        cudaStream_t stream);

/// Clusters with points in the last epoch become the means of these.
/// @param sizes  [k] of the epoch
void close_averages(
        const AverageArrays& averages,
        const int64_t* sizes,
        const SumFormat& format,
        int64_t frozen,
        float* centroids,
        cudaStream_t stream);

} // namespace faiss_flash::cuda
