/// The averages of e-means on the device (core/moving_averages.h): what a batch, a revival and the
/// end of a run do to them. All pointers are the device's.
#pragma once

#include <faiss_flash/core/moving_averages.h>
#include <faiss_flash/core/shard.h>
#include <faiss_flash/cuda/runtime/arena.h>
#include <faiss_flash/cuda/update/sum_format.h>

#include <cuda_runtime_api.h>

#include <cstdint>

namespace faiss_flash::cuda {

/// What an epoch tells the host. Times are of the device's clock.
struct EpochStats {
    LongSum objective;   ///< gains of clusters (core/objective.h), or values of weighted points
    DoubleDouble points; ///< their squares; of l2 without weights
    IterationCounts counts;
    int64_t revived;
    uint64_t began, ended;
    uint64_t updating; ///< nanoseconds after the assignments
    double squares;    ///< sum of the sizes' squares
};

/// E-means' state, of one problem.
struct AverageArrays {
    AverageArrays(const SumFormat& format, Arena& arena);

    float* centroids;    ///< [k x d]
    double* usage;       ///< [k]
    double* sums;        ///< [k x d]
    int64_t* sizes;      ///< [k] points of the epoch so far
    long long* all_sums; ///< in the format's layout: of the last epoch so far
    EpochStats* epoch;   ///< so far
    uint64_t* assigned;  ///< when the batch's assignment was over
    // Of revive():
    int64_t* ends;       ///< [k] of a donor's numbers
    int32_t* first_draw; ///< [k] of a donor
    int32_t* revived;    ///< [k]
    int2* pairs;         ///< [k] a revived cluster and its donor
    int32_t* count;      ///< one: pairs
};

/// The averages of the centroids: usage kFirstUsage each.
void begin_averages(const AverageArrays& arrays, int64_t k, int64_t d, cudaStream_t stream);

/// Begins an epoch. squares: of all points, or null.
void begin_epoch(const AverageArrays& arrays, const DoubleDouble* squares, cudaStream_t stream);

/// Moves the averages by a batch's sums, which are cleared unless they are kept, and reads the
/// centroids out. The rules are not applied but for the frozen centroids, which stay.
void move_averages(
        const Sums& sums,
        const SumFormat& format,
        const EmeansBatch& batch,
        int64_t frozen,
        const AverageArrays& arrays,
        cudaStream_t stream);

/// Gives clusters of little usage half of others, but for the frozen ones: choose_donors(). Their
/// centroids follow.
/// @param scale  usage_scale()
void revive(
        const AverageArrays& arrays,
        int64_t k,
        int64_t d,
        int64_t frozen,
        double scale,
        uint64_t seed,
        cudaStream_t stream);

/// Ends an epoch. Of the last one clusters with points become the means of these.
void end_epoch(
        const AverageArrays& arrays,
        const SumFormat& format,
        bool last,
        int64_t frozen,
        cudaStream_t stream);

} // namespace faiss_flash::cuda
