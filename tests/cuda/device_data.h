/// Device arrays for tests: f16 and bf16 rows with any stride and offset, poisoned outputs.
#pragma once

#include <faiss_flash/cuda/runtime/check.h>

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <cstring>
#include <memory>
#include <vector>

namespace faiss_flash::test {

using Floats = std::vector<float>;

struct DeviceFree {
    void operator()(void* pointer) const { cudaFree(pointer); }
};
using DevicePointer = std::unique_ptr<void, DeviceFree>;

inline DevicePointer to_device(const void* data, size_t bytes) {
    void* pointer = nullptr;
    cuda::check(cudaMalloc(&pointer, bytes), "cudaMalloc");
    DevicePointer owner(pointer);
    cuda::check(cudaMemcpy(pointer, data, bytes, cudaMemcpyHostToDevice), "cudaMemcpy");
    // The last of it may still be on its way, and other streams do not wait.
    cuda::check(cudaDeviceSynchronize(), "copying to the device");
    return owner;
}

template <class T>
std::vector<T> to_host(const void* data, size_t count) {
    std::vector<T> host(count);
    cuda::check(
            cudaMemcpy(host.data(), data, count * sizeof(T), cudaMemcpyDeviceToHost), "cudaMemcpy");
    return host;
}

/// An array of the device that starts as a pattern no kernel writes, with a margin behind it.
template <class T>
class Output {
   public:
    explicit Output(size_t count) : count_(count) {
        const std::vector<T> poison(count + kMargin, poison_value());
        data_ = to_device(poison.data(), poison.size() * sizeof(T));
    }
    T* get() const { return static_cast<T*>(data_.get()); }
    std::vector<T> read() const { return to_host<T>(data_.get(), count_); }
    bool margin_is_untouched() const {
        const auto all = to_host<T>(data_.get(), count_ + kMargin);
        const T poison = poison_value();
        for (size_t i = count_; i < all.size(); i++) {
            if (std::memcmp(&all[i], &poison, sizeof(T)) != 0) {
                return false;
            }
        }
        return true;
    }

   private:
    static constexpr size_t kMargin = 512;
    static T poison_value() {
        T value;
        std::memset(&value, 0xA5, sizeof value);
        return value;
    }
    size_t count_;
    DevicePointer data_;
};

/// The value as f16 or bf16 keeps it.
inline float rounded(float value, bool bf16) {
    return bf16 ? __bfloat162float(__float2bfloat16(value)) : __half2float(__float2half(value));
}

inline uint16_t bits(float value, bool bf16) {
    uint16_t result;
    if (bf16) {
        const __nv_bfloat16 converted = __float2bfloat16(value);
        std::memcpy(&result, &converted, sizeof result);
    } else {
        const __half converted = __float2half(value);
        std::memcpy(&result, &converted, sizeof result);
    }
    return result;
}

} // namespace faiss_flash::test
