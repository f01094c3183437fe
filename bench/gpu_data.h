/// Data and timing for the device's benchmarks.
#pragma once

#include <faiss_flash/cuda/assign/assign.h>
#include <faiss_flash/cuda/runtime/check.h>
#include <faiss_flash/cuda/runtime/pool.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <random>
#include <vector>

namespace faiss_flash::bench {

/// Device memory that the engine takes from here on.
class TakenMemory {
   public:
    TakenMemory() : before_(bytes(cudaMemPoolAttrUsedMemCurrent)) {
        uint64_t reset = 0;
        cuda::check(
                cudaMemPoolSetAttribute(cuda::memory_pool(), cudaMemPoolAttrUsedMemHigh, &reset),
                "the pool");
    }
    /// The most bytes at a time.
    double most() const { return static_cast<double>(bytes(cudaMemPoolAttrUsedMemHigh) - before_); }

   private:
    static uint64_t bytes(cudaMemPoolAttr attribute) {
        uint64_t value = 0;
        cuda::check(cudaMemPoolGetAttribute(cuda::memory_pool(), attribute, &value), "the pool");
        return value;
    }

    uint64_t before_;
};

/// Seconds on the device between start() and stop().
class Events {
   public:
    explicit Events(cudaStream_t stream = nullptr) : stream_(stream) {
        cuda::check(cudaEventCreate(&start_), "creating an event");
        cuda::check(cudaEventCreate(&stop_), "creating an event");
    }
    Events(const Events&) = delete;
    Events& operator=(const Events&) = delete;
    ~Events() {
        cudaEventDestroy(start_);
        cudaEventDestroy(stop_);
    }
    void start() { cuda::check(cudaEventRecord(start_, stream_), "recording an event"); }
    double stop() {
        float milliseconds = 0;
        cuda::check(cudaEventRecord(stop_, stream_), "recording an event");
        cuda::check(cudaEventSynchronize(stop_), "waiting for the device");
        cuda::check(cudaEventElapsedTime(&milliseconds, start_, stop_), "reading an event");
        return milliseconds * 1e-3;
    }

   private:
    cudaStream_t stream_;
    cudaEvent_t start_, stop_;
};

/// Values made before they are repeated. Odd: rows do not repeat within a tile.
inline constexpr int64_t kPeriod = (int64_t{1} << 22) - 3;

/// `count` values on the device: the first `period` at `values` (host or device), over and over.
template <class T>
cuda::Buffer<T> repeated(const T* values, int64_t period, int64_t count) {
    cuda::Buffer<T> device(static_cast<size_t>(count), nullptr);
    for (int64_t at = 0; at < count; at += period) {
        const auto bytes = static_cast<size_t>(std::min(period, count - at)) * sizeof(T);
        cuda::check(
                cudaMemcpy(device.get() + at, values, bytes, cudaMemcpyDefault), "copying data");
    }
    return device;
}

inline std::vector<uint16_t> made_halves(bool bf16) {
    std::vector<uint16_t> made(kPeriod);
    std::mt19937 generator(1);
    std::normal_distribution<float> distribution;
    for (uint16_t& value : made) {
        const float x = distribution(generator);
        uint32_t bits;
        std::memcpy(&bits, &x, sizeof bits);
        // Cut to 11 significant bits by hand; no value here is subnormal or out of range.
        const uint32_t magnitude = std::max((bits & 0x7FFFFFFF) + 0x1000, 0x38800000u);
        const uint32_t f16 = (bits >> 16 & 0x8000) | ((magnitude - 0x38000000) >> 13);
        value = static_cast<uint16_t>(bf16 ? bits >> 16 : f16);
    }
    return made;
}

/// Normal values, made on the host once and repeated: the device must not see zeros.
inline cuda::Buffer<uint16_t> normal_halves(int64_t count, bool bf16 = false) {
    static const std::vector<uint16_t> values[2] = {made_halves(false), made_halves(true)};
    return repeated(values[bf16].data(), kPeriod, count);
}

inline cuda::Buffer<float> normal_floats(int64_t count) {
    std::vector<float> values(static_cast<size_t>(count));
    std::mt19937 generator(2);
    std::normal_distribution<float> distribution;
    std::generate(values.begin(), values.end(), [&] { return distribution(generator); });
    return repeated(values.data(), count, count);
}

/// Rows [k x d] of which each is one of k / copies normal rows, in any order, moved by 1e-4: more
/// than 16 bits tell apart.
inline cuda::Buffer<float> near_copies(int64_t k, int64_t d, int64_t copies) {
    const int64_t different = k / copies;
    std::vector<float> values(static_cast<size_t>(k * d));
    std::mt19937 generator(4);
    std::normal_distribution<float> distribution;
    for (int64_t i = 0; i < different * d; i++) {
        values[static_cast<size_t>(i)] = distribution(generator);
    }
    for (int64_t row = different; row < k; row++) {
        const auto from = static_cast<int64_t>(generator() % static_cast<uint64_t>(different));
        for (int64_t j = 0; j < d; j++) {
            values[static_cast<size_t>(row * d + j)] =
                    values[static_cast<size_t>(from * d + j)] + 1e-4f * distribution(generator);
        }
    }
    return repeated(values.data(), k * d, k * d);
}

/// Normal values, repeated.
inline cuda::Buffer<float> repeated_floats(int64_t count) {
    const int64_t period = std::min(count, kPeriod);
    return repeated(normal_floats(period).get(), period, count);
}

inline cuda::Buffer<int32_t> random_ids(int64_t count, int64_t k, unsigned seed) {
    std::vector<int32_t> values(static_cast<size_t>(count));
    std::mt19937 generator(seed);
    std::uniform_int_distribution<int32_t> distribution(0, static_cast<int32_t>(k) - 1);
    std::generate(values.begin(), values.end(), [&] { return distribution(generator); });
    return repeated(values.data(), count, count);
}

/// f16 points, prepared centroids and room for the results.
class AssignProblem {
   public:
    AssignProblem(int64_t batch, int64_t n, int64_t k, int64_t d)
        : points_(normal_halves(batch * n * d)),
          table_(nullptr,
                 [&](cuda::Arena& arena) {
                     return cuda::TensorCentroids(batch, k, d, false, Metric::l2, arena);
                 }),
          best_(static_cast<size_t>(batch * n), nullptr),
          second_(static_cast<size_t>(batch * n), nullptr),
          ids_(static_cast<size_t>(batch * n), nullptr) {
        cuda::prepare_centroids(normal_floats(batch * k * d).get(), *table_, nullptr);
        rows_ = cuda::packed_rows(points_.get(), false, batch, n, d, d);
    }
    const cuda::TensorRows& rows() const { return rows_; }
    const cuda::TensorCentroids& table() const { return *table_; }
    cuda::AssignOutput output(bool second) const {
        return {best_.get(), second ? second_.get() : nullptr, ids_.get()};
    }

   private:
    cuda::Buffer<uint16_t> points_;
    cuda::Allocated<cuda::TensorCentroids> table_;
    cuda::Buffer<float> best_, second_;
    cuda::Buffer<int32_t> ids_;
    cuda::TensorRows rows_;
};

} // namespace faiss_flash::bench
