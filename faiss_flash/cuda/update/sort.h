/// Entries of an update in the order of their clusters: the inverse of an assignment.
#pragma once

#include <faiss_flash/core/shard.h>
#include <faiss_flash/cuda/runtime/arena.h>
#include <faiss_flash/cuda/update/entries.h>

#include <cstdint>

namespace faiss_flash::cuda {

/// The order within a cluster is whatever it comes to, and may differ from run to run: sums of
/// integers are the same in any.
class EntryOrder {
   public:
    /// Room for `batch` problems of n points and k clusters.
    EntryOrder(int64_t batch, int64_t n, int64_t k, Arena& arena);

    /// True where sorting all points takes one short kernel.
    static bool is_short(int64_t n, int64_t k);

    /// The ids of a short sort are counted in counts [batch] where they are invalid; those of
    /// others have been looked at by MovedPoints.
    void run(const Entries& entries, IterationCounts* counts, cudaStream_t stream);

    /// [batch x n] (point, cluster within the problem), ascending by cluster; as many as there are
    /// entries.
    const int2* get() const { return order_; }

   private:
    int64_t batch_, n_, k_;
    int2* order_ = nullptr;     ///< [batch x n]
    int32_t* counts_ = nullptr; ///< [batch x k] of each cluster: entries,
    int32_t* places_ = nullptr; ///< [batch x k] and the next free place; null for a short sort
};

} // namespace faiss_flash::cuda
