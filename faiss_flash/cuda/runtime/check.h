/// CUDA's return codes as exceptions.
#pragma once

#include <faiss_flash/kmeans.h>

#include <cuda_runtime_api.h>

#include <cstdint>
#include <string>

namespace faiss_flash::cuda {

/// Throws Error, or OutOfDeviceMemory, with CUDA's own words and what was being done.
inline void check(cudaError_t status, const char* doing) {
    if (status == cudaSuccess) {
        return;
    }
    cudaGetLastError(); // a failed call must not be taken for the next one's
    const std::string text = std::string(doing) + ": " + cudaGetErrorString(status) + " (" +
                             cudaGetErrorName(status) + ")";
    if (status == cudaErrorMemoryAllocation) {
        throw OutOfDeviceMemory(text);
    }
    throw Error(text);
}

/// Blocks of `each` threads, or of whatever a block takes, for `count` of them.
inline unsigned blocks_of(int64_t count, int64_t each) {
    return static_cast<unsigned>((count + each - 1) / each);
}

/// Of the launch just made.
inline void check_launch(const char* kernel) {
    check(cudaGetLastError(), kernel);
}

} // namespace faiss_flash::cuda
