#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>

namespace faiss_flash::cpu {

/// Uninitialised floats that start on a cache line.
class AlignedFloats {
   public:
    static constexpr size_t kLine = 64;

    AlignedFloats() = default;
    explicit AlignedFloats(int64_t count)
        : data_(static_cast<float*>(::operator new(
                  static_cast<size_t>(count) * sizeof(float), std::align_val_t(kLine)))) {}
    float* get() const { return data_.get(); }

   private:
    struct Free {
        void operator()(float* data) const { ::operator delete(data, std::align_val_t(kLine)); }
    };
    std::unique_ptr<float, Free> data_;
};

} // namespace faiss_flash::cpu
