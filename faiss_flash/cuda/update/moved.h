/// Points whose cluster changed since the last update: with exact sums only these need be read.
#pragma once

#include <faiss_flash/core/shard.h>
#include <faiss_flash/cuda/runtime/arena.h>
#include <faiss_flash/cuda/update/entries.h>

#include <cstdint>

namespace faiss_flash::cuda {

class MovedPoints {
   public:
    /// Of `batch` problems of n points and k clusters.
    MovedPoints(int64_t batch, int64_t n, int64_t k, Arena& arena);

    /// The next find() finds all points; to be called before the first.
    void forget(cudaStream_t stream);
    /// Compares ids [batch x n] with those of the last call, and counts the invalid ones.
    Entries find(const int32_t* ids, IterationCounts* counts, cudaStream_t stream);
    /// Of other rows every time: all of these n points, with the invalid ids counted and replaced.
    Entries all(const int32_t* ids, int64_t n, IterationCounts* counts, cudaStream_t stream);

   private:
    Entries compare(
            const int32_t* ids,
            int64_t n,
            int64_t capacity,
            IterationCounts* counts,
            cudaStream_t stream);

    int64_t batch_, n_, k_, capacity_;
    int32_t* previous_; ///< [batch x n]
    uint32_t* moved_;   ///< [batch] entries; up to 2^31
    int2* list_;        ///< [batch x capacity]
};

} // namespace faiss_flash::cuda
