/// The exact nearest centroid, of a batch of problems, in one kernel: for problems that are too
/// small for the passes of exact/assign.h, such as those of product quantizers.
///
/// With x' = (x - m) s and c' = (c - m) t for powers of two s and t, the score x'.c' + b (b:
/// -|c'|^2 s / 2 t, or m.c' s for products) in float32 is off by at most
///   E = (d + 16) 2^-23 (|x'| C + B) + what float64 itself is off by (exact/bounds.cuh)
/// for the longest |c'| = C and the largest |b| = B. Where b is added up in float32, of products of
/// long rows, its terms may cancel: B is |m| s C / 2 larger, which their roundings stay below. A
/// centroid whose score is below the best by
/// more than 2 E is not the nearest. Where one is left, it is the nearest; of several, float64
/// decides, with the CPU backend's order of summation, ties to the lowest id.
#pragma once

#include <faiss_flash/core/shard.h>
#include <faiss_flash/cuda/runtime/arena.h>
#include <faiss_flash/cuda/scaling.h>
#include <faiss_flash/kmeans.h>

#include <cstdint>

namespace faiss_flash::cuda {

/// Of the centroids of one problem, in scaled units, rounded up.
struct DirectBounds {
    float length; ///< |c'|
    float bias;   ///< B
    float scale;  ///< t
};

/// Centroids as the kernel reads them.
struct DirectCentroids {
    DirectCentroids(int64_t batch, int64_t k, int64_t d, Metric metric, Arena& arena);

    int64_t batch, k, d;
    Metric metric;
    int64_t columns;  ///< d rounded up to a power of two from 4 on
    int64_t padded_k; ///< k rounded up to a group
    /// What short rows' scores are made of; null for long rows.
    float* rows = nullptr;          ///< [batch x padded_k x columns]
    float* bias = nullptr;          ///< [batch x padded_k], -inf from k on
    DirectBounds* bounds = nullptr; ///< [batch]
};

/// The longest rows that there is a kernel for.
inline constexpr int64_t kMostDirectColumns = 256;

/// points and centroids [batch x k x d], finite, with the points' scaling; all in device memory.
/// ids [batch x n]; counts [batch] are added to. Nothing waits.
void assign_direct(
        const DeviceRows& points,
        const Scaling& scaling,
        const float* centroids,
        const DirectCentroids& table,
        int32_t* ids,
        IterationCounts* counts,
        cudaStream_t stream);

/// True for rows up to that where one kernel for all problems takes less time than the passes of
/// exact/assign.h for each.
bool direct_pays(int64_t batch, int64_t n, int64_t k, int64_t d);

/// What an iteration is expected to take on the current device, by the way that suits it; fast: of
/// Precision::fast.
double iteration_seconds(int64_t batch, int64_t n, int64_t k, int64_t d, bool fast);

} // namespace faiss_flash::cuda
