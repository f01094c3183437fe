/// The exact nearest centroid of every float32 point: f16 scores, a certificate, float64 for what
/// is left.
///
/// With x' = (x - m) s and c' = (c - m) t for powers of two s and t, and their f16 roundings X, C:
///   |x'.c' - X.C| <= |X| |c' - C| + |x' - X| |c'|                       (Cauchy-Schwarz)
/// and the tensor cores' own sum of d products and a bias is off by at most
///   g M, M = |X| max|C| + max|bias| (the largest that any sum so far can be; for d <= 32 the row's
///   reach comes on top), g = (d / 16 + 4) 20 2^-24:
/// for every 16 columns the 16 products and the sum so far are cut to a common exponent, each by at
/// most 2^-24 of the largest, and their sum is cut to float32; the constant holds all of that and
/// the additions of the epilogues. A point whose best score beats its second by more than twice the
/// sum of both bounds has its nearest centroid. All others are decided by float64 over all
/// centroids, with the CPU backend's order of summation: the same ids, ties to the lowest.
#pragma once

#include <faiss_flash/cuda/exact/points.h>
#include <faiss_flash/kmeans.h>

#include <cstdint>

namespace faiss_flash::cuda {

struct ExactOutput {
    int32_t* ids;   ///< [n] -1 for a point with a NaN or an Inf
    double* values; ///< [n] squared distance or product in float64; NaN where the id is -1
    int64_t* open;  ///< one counter: points that float64 decided; added to
};

/// centroids [k x d] float32, packed, finite. All arrays in device memory. Nothing waits.
void assign_exact(
        const DevicePoints& points,
        const float* centroids,
        int64_t k,
        Metric metric,
        const ExactOutput& output,
        cudaStream_t stream);

} // namespace faiss_flash::cuda
