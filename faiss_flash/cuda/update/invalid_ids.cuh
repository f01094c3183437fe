/// Ids that are not a centroid's: what an assignment leaves that found none. They must not be an
/// index; the host is told how many there are, and ends the run.
#pragma once

#include <faiss_flash/core/shard.h>

#include <cstdint>

namespace faiss_flash::cuda {

/// The id, or the last of k clusters in the place of one that is none.
__device__ inline int32_t as_index(int32_t id, int32_t k) {
    const auto last = static_cast<uint32_t>(k - 1);
    return static_cast<int32_t>(min(static_cast<uint32_t>(id), last));
}

/// counts: of the points' problem.
__device__ inline void count_invalid(IterationCounts* counts, int32_t points) {
    if (points > 0) {
        atomicAdd(
                reinterpret_cast<unsigned long long*>(&counts->invalid),
                static_cast<unsigned long long>(points));
    }
}

} // namespace faiss_flash::cuda
