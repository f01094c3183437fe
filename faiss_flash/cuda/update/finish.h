/// The end of an iteration on the device: means of clusters from their fixed-point sums, the next
/// centroids, and what is told about the clusters.
#pragma once

#include <faiss_flash/core/shard.h>
#include <faiss_flash/cuda/update/sum_format.h>

#include <cuda_runtime_api.h>

#include <cstdint>

namespace faiss_flash::cuda {

/// What an iteration tells the host.
struct ClusterStats {
    double objective;
    double squares; ///< sum of the sizes' squares
    IterationCounts counts;
    int64_t empty;     ///< clusters without weight that are not frozen
    uint64_t assigned; ///< when its assignment was over, and
    uint64_t ended;    ///< when it was: the latest of its problems'; both by the device's clock
};

/// Arrays of one iteration of `batch` problems, on the device.
struct IterationArrays {
    float* centroids;      ///< [batch x k x d] that it starts from,
    float* next;           ///< and that the one after it starts from
    float* means;          ///< [batch x k x d] zeros where the weight is 0
    int64_t* sizes;        ///< [batch x k]
    double* weights;       ///< [batch x k] sums of weights; equal to sizes without weights
    DoubleDouble* squares; ///< [batch] of the points, or null for products
    DoubleDouble* gains;   ///< [batch x k] what clusters add to the objective (core/objective.h);
                           ///< null where the points' values have been added up
    uint64_t* assigned;    ///< write_time() has told when the assignment was over
    uint32_t* finished;    ///< [batch] zeros before and after
};

/// Sums in the format become means, rounded to float64 once and to float32 once. next: the frozen
/// rows of the centroids, the means after the rules for the others. Clears the counts, the points'
/// values, and the clusters' sums unless they are kept. stats [batch] may be page-locked memory of
/// the host.
void finish_iteration(
        const Sums& sums,
        const SumFormat& format,
        const IterationArrays& arrays,
        const CentroidRules& rules,
        ClusterStats* stats,
        cudaStream_t stream);

/// Nanoseconds of the device's clock when all that the stream has been given before is over; `time`
/// may be page-locked memory of the host.
void write_time(uint64_t* time, cudaStream_t stream);

} // namespace faiss_flash::cuda
