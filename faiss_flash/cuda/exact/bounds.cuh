/// Constants of the certificate's bounds: see assign.h.
#pragma once

#include <faiss_flash/cuda/scaling.cuh>

#include <cstdint>

namespace faiss_flash::cuda {

/// What a step of the tensor cores, the sum of 16 products and what was there, is off by at most,
/// relative to the largest that any of these sums can be.
inline constexpr double kStepError = 20 * 0x1p-24;
/// Steps that the epilogues' own additions count for.
inline constexpr double kEpilogueSteps = 4;
inline constexpr double kLeastError = 0x1p-100;

/// The larger, or a NaN where one is: fmax() would drop it, and with it the doubt.
__device__ inline float larger(float a, float b) {
    return a > b || isnan(a) ? a : b;
}

/// What the score of a centroid is off by, for a row within the reference [2]: e(c) of assign.h.
__device__ inline double score_error(
        const float* reference,
        int64_t d,
        double length,
        double residual,
        double rounded_length,
        double bias) {
    const double sums = (static_cast<double>(d) / 16 + kEpilogueSteps) * kStepError;
    return reference[0] * residual + reference[1] * length +
           sums * (reference[0] * rounded_length + bias);
}

/// How far float64 can be off with a point and a centroid: half their squared distance or their
/// product, in units of the scores. A point is certified only where float64 over all centroids
/// would find the same one. Float32 does for bounds: each of some ten roundings is 2^-24 of it.
struct Float64Error {
    float relative;
    float point_factor, centroid_factor; ///< to lengths of one scale
    float point_offset, centroid_offset; ///< of what was subtracted, for products
    bool l2;

    __device__ Float64Error(
            int64_t d, bool l2_in, double point_scale, double centroid_scale, double mean_length)
        : relative(round_up((static_cast<double>(d) + 8) * 0x1p-53)), l2(l2_in) {
        const double ratio = sqrt(centroid_scale / point_scale);
        point_factor = l2 ? round_up(ratio) : 1;
        centroid_factor = l2 ? round_up(1 / ratio) : 1;
        point_offset = l2 ? 0 : round_up(mean_length * point_scale);
        centroid_offset = l2 ? 0 : round_up(mean_length * centroid_scale);
    }
    /// Of a scaled row of this length and a scaled centroid of at most that.
    __device__ float operator()(float point, float centroid) const {
        const float a = point * point_factor + point_offset;
        const float b = centroid * centroid_factor + centroid_offset;
        return relative * (l2 ? (a + b) * (a + b) / 2 : a * b);
    }
};

} // namespace faiss_flash::cuda
