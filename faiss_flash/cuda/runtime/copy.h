/// Copies between host and device.
#pragma once

#include <faiss_flash/cuda/runtime/check.h>

#include <cstddef>
#include <cstdint>

namespace faiss_flash::cuda {

template <class T>
void copy(T* to, const T* from, int64_t count, cudaMemcpyKind kind, cudaStream_t stream) {
    if (count > 0) {
        check(cudaMemcpyAsync(to, from, static_cast<size_t>(count) * sizeof(T), kind, stream),
              "copying between host and device");
    }
}

} // namespace faiss_flash::cuda
