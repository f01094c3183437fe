/// Sums of device arrays, the same bits every time.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

namespace faiss_flash::cuda {

/// *result = the sum of values [n]; all on the device.
void sum(const double* values, int64_t n, double* result, cudaStream_t stream);

} // namespace faiss_flash::cuda
