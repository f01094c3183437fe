/// Sums of arrays in a fixed order: the same bits every time.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

namespace faiss_flash::cuda {

inline constexpr int64_t kPart = 1024; ///< values of a part

inline int64_t parts_of(int64_t n) {
    return (n + kPart - 1) / kPart;
}

/// parts [parts_of(n)]: the sum of each part of values [n]; all on the device.
void sum_parts(const double* values, int64_t n, double* parts, cudaStream_t stream);

} // namespace faiss_flash::cuda
