/// Points whose cluster changed since the last update: with exact sums only these need be read.
#pragma once

#include <faiss_flash/cuda/counts.h>
#include <faiss_flash/cuda/runtime/buffer.h>
#include <faiss_flash/cuda/update/entries.h>

#include <cstdint>

namespace faiss_flash::cuda {

class MovedPoints {
   public:
    MovedPoints() = default;
    /// Of `batch` problems of n points and k clusters. The first find() finds all points.
    MovedPoints(int64_t batch, int64_t n, int64_t k, cudaStream_t stream);

    /// Bytes of device memory that one takes.
    static int64_t bytes(int64_t batch, int64_t n);

    /// Compares ids [batch x n] with those of the last call, and counts the invalid ones.
    Entries find(const int32_t* ids, IterationCounts* counts, cudaStream_t stream);

   private:
    int64_t batch_ = 0, n_ = 0, k_ = 0, capacity_ = 0;
    Buffer<int32_t> previous_; ///< [batch x n]
    Buffer<uint32_t> moved_;   ///< [batch] entries; up to 2^31
    Buffer<int2> list_;        ///< [batch x capacity]
};

} // namespace faiss_flash::cuda
