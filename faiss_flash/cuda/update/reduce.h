/// Sums of arrays in a fixed order: the same bits every time.
#pragma once

#include <faiss_flash/kmeans.h>

#include <cuda_runtime_api.h>

#include <cstdint>

namespace faiss_flash::cuda {

inline constexpr int64_t kPart = 1024; ///< values of a part

inline int64_t parts_of(int64_t n) {
    return (n + kPart - 1) / kPart;
}

/// parts [parts_of(n)]: the sum of each part of values [n]; all on the device.
void sum_parts(const double* values, int64_t n, double* parts, cudaStream_t stream);

/// What points add to an objective whatever their centroids: parts [batch x parts_of(n)] of the
/// sums of |row - mean|^2 (l2), or zeros, of rows [batch x n x d], which are row_elements apart;
/// mean [batch x d] or null. float, __half or __nv_bfloat16.
template <class Element>
void sum_squares(
        Metric metric,
        const Element* rows,
        int64_t row_elements,
        int64_t batch,
        int64_t n,
        int64_t d,
        const float* mean,
        double* parts,
        cudaStream_t stream);

} // namespace faiss_flash::cuda
