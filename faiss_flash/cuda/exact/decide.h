/// The exact nearest centroid of listed points, by float64 over the centroids that float32 leaves.
#pragma once

#include <faiss_flash/cuda/assign/assign.h>
#include <faiss_flash/cuda/exact/points.h>
#include <faiss_flash/cuda/runtime/arena.h>
#include <faiss_flash/kmeans.h>

#include <cstdint>

namespace faiss_flash::cuda {

/// Numbers of points, on the device.
struct OpenRows {
    int32_t* rows;  ///< [count]
    int32_t* count; ///< one
};

/// What is left of listed open rows, once the first `taken` of them have been compared: those whose
/// candidates are not known have been moved to the front.
struct RestRows {
    OpenRows open;
    int64_t taken;
    int32_t* moved; ///< one: how many

#ifdef __CUDACC__
    __device__ int32_t count() const {
        return *moved + static_cast<int32_t>(max(int64_t{0}, *open.count - taken));
    }
    __device__ int32_t row(int32_t i) const {
        return open.rows[i < *moved ? i : taken + i - *moved];
    }
#endif
};

/// The centroids of one assignment, on the device.
struct ExactCentroids {
    const float* values; ///< [k x d] as they were given
    const float* bias;   ///< [k] of scaled scores
    const CentroidBounds* bounds;
    int64_t k;
    Metric metric;
};

/// Memory of decide_rest() for any share of n points.
struct RestWorkspace {
    RestWorkspace() = default;
    RestWorkspace(int64_t n, Arena& arena);

    double* values = nullptr; ///< [n] what the best centroid so far measures
    int32_t* locks = nullptr; ///< [n]
};

/// ids of the rows, by float32 scores of all centroids with a bound, and float64 for those
/// that this leaves, with the CPU backend's order of summation: the float64 argmin or argmax, ties
/// to the lowest; -1 for a row with a NaN or an Inf. Before, they hold good guesses.
void decide_rest(
        const DevicePoints& points,
        const ExactCentroids& centroids,
        const RestRows& rest,
        int32_t* ids,
        const RestWorkspace& workspace,
        cudaStream_t stream);

/// values [n]: squared distances of rows of one problem to, or products with, the centroids [k x d]
/// of ids, in float64; NaN for an id that is none.
void measure(
        const DeviceRows& rows,
        const float* centroids,
        int64_t k,
        Metric metric,
        const int32_t* ids,
        double* values,
        cudaStream_t stream);

} // namespace faiss_flash::cuda
