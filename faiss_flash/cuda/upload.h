/// Host rows on their way to the device.
#pragma once

#include <faiss_flash/core/points.h>

#include <cuda_runtime_api.h>

#include <cstdint>
#include <functional>

namespace faiss_flash::cuda {

/// Bytes of device memory that upload() of n rows takes meanwhile.
int64_t upload_bytes(int64_t n, int64_t d);

/// Brings rows first .. first + n - 1 as packed float32 to the device, through two page-locked
/// buffers: while one is copied there, the host's threads fill the other. Exceptions of a decoder,
/// and of a caller who wants to stop, reach the caller.
/// @param take  (rows on the device [count x d], number of the first of them, count): queues what
///              becomes of them
void upload(
        const Points& points,
        int64_t first,
        int64_t n,
        cudaStream_t stream,
        const std::function<void(const float* rows, int64_t done, int64_t count)>& take);

} // namespace faiss_flash::cuda
