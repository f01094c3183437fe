/// Constants of the certificate's bounds: see assign.h.
#pragma once

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

/// How far float64 can be off with a point and a centroid: half their squared distance or their
/// product, in units of the scores. A point is certified only where float64 over all centroids
/// would find the same one.
struct Float64Error {
    double relative;
    double point_factor, centroid_factor; ///< to lengths of one scale
    double point_offset, centroid_offset; ///< of what was subtracted, for products
    bool l2;

    __device__ Float64Error(
            int64_t d, bool l2_in, double point_scale, double centroid_scale, double mean_length)
        : relative((static_cast<double>(d) + 8) * 0x1p-53), l2(l2_in) {
        const double ratio = sqrt(centroid_scale / point_scale);
        point_factor = l2 ? ratio : 1;
        centroid_factor = l2 ? 1 / ratio : 1;
        point_offset = l2 ? 0 : mean_length * point_scale;
        centroid_offset = l2 ? 0 : mean_length * centroid_scale;
    }
    /// Of a scaled row of this length and a scaled centroid of at most that.
    __device__ double operator()(double point, double centroid) const {
        const double a = point * point_factor + point_offset;
        const double b = centroid * centroid_factor + centroid_offset;
        return relative * (l2 ? (a + b) * (a + b) / 2 : a * b);
    }
};

/// A float that is not less, for bounds.
__device__ inline float round_up(double value) {
    return static_cast<float>(value * (1 + 0x1p-20));
}

} // namespace faiss_flash::cuda
