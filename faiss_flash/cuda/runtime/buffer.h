/// Device memory of one stream.
#pragma once

#include <faiss_flash/cuda/runtime/pool.h>

#include <cstddef>
#include <utility>

namespace faiss_flash::cuda {

/// Uninitialised memory from the device's pool, taken and given back in the order of a stream.
template <class T>
class Buffer {
   public:
    Buffer() = default;
    Buffer(size_t count, cudaStream_t stream)
        : data_(static_cast<T*>(take_device(count * sizeof(T), stream))), stream_(stream) {}
    Buffer(Buffer&& other) noexcept
        : data_(std::exchange(other.data_, nullptr)), stream_(other.stream_) {}
    Buffer& operator=(Buffer&& other) noexcept {
        std::swap(data_, other.data_);
        std::swap(stream_, other.stream_);
        return *this;
    }
    ~Buffer() {
        if (data_) {
            give_back_device(data_, stream_);
        }
    }
    T* get() const { return data_; }

   private:
    T* data_ = nullptr;
    cudaStream_t stream_ = nullptr;
};

} // namespace faiss_flash::cuda
