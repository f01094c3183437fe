/// The exact nearest centroid of listed points, by float64 over the centroids that float32 leaves.
#pragma once

#include <faiss_flash/cuda/assign/assign.h>
#include <faiss_flash/cuda/exact/points.h>
#include <faiss_flash/kmeans.h>

#include <cstdint>

namespace faiss_flash::cuda {

/// Numbers of points, on the device.
struct OpenRows {
    int32_t* rows;  ///< [count]
    int32_t* count; ///< one
};

/// What the third pass knows of points, on the device; of the open ones, reset before it.
struct Decisions {
    double* values; ///< [n] what the best centroid so far measures; worst possible at first
    int32_t* locks; ///< [n] zeros
};

/// The centroids of one assignment for its second and third pass, on the device.
struct ScaledCentroids {
    ScaledCentroids(
            const float* values_in,
            int64_t k_in,
            int64_t d_in,
            const float* bias_in,
            const float* padded_bias_in,
            const CentroidBounds* bounds_in,
            Metric metric_in,
            cudaStream_t stream)
        : values(values_in),
          bias(bias_in),
          padded_bias(padded_bias_in),
          bounds(bounds_in),
          k(k_in),
          segment(padded_columns(d_in)),
          metric(metric_in),
          scaled(static_cast<size_t>(k * segment), stream) {}

    const float* values;      ///< [k x d] as they were given
    const float* bias;        ///< [k]
    const float* padded_bias; ///< the first pass's: its tail is that of no centroid
    const CentroidBounds* bounds;
    int64_t k;
    int64_t segment; ///< d rounded up to 8
    Metric metric;
    Buffer<float> scaled; ///< [k x segment] (c - mean) s; filled by the second pass
};

/// ids of the open rows: the float64 argmin or argmax with the CPU backend's order of summation,
/// ties to the lowest; -1 for a row with a NaN or an Inf. Before, they hold good guesses.
void decide(
        const DevicePoints& points,
        const ScaledCentroids& centroids,
        const OpenRows& open,
        const Decisions& decisions,
        int32_t* ids,
        cudaStream_t stream);

/// values [n]: squared distances of rows [n x d] to, or products with, the centroids [k x d] of
/// ids, in float64; NaN for an id that is none.
void measure(
        const float* rows,
        int64_t n,
        int64_t d,
        const float* centroids,
        int64_t k,
        Metric metric,
        const int32_t* ids,
        double* values,
        cudaStream_t stream);

} // namespace faiss_flash::cuda
