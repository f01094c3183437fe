#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <new>

namespace faiss_flash::cpu {

/// Uninitialised floats that start on a cache line.
class AlignedFloats {
   public:
    static constexpr size_t kLine = 64;

    AlignedFloats() = default;
    explicit AlignedFloats(int64_t count) {
        const size_t bytes = static_cast<size_t>(count) * sizeof(float);
        data_.reset(static_cast<float*>(std::aligned_alloc(kLine, (bytes / kLine + 1) * kLine)));
        if (!data_) {
            throw std::bad_alloc();
        }
    }
    float* get() const { return data_.get(); }

   private:
    struct Free {
        void operator()(float* data) const { std::free(data); }
    };
    std::unique_ptr<float, Free> data_;
};

} // namespace faiss_flash::cpu
