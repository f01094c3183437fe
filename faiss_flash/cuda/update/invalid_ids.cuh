/// Ids that are not a centroid's: what an assignment leaves that found none. They must not be an
/// index; the host is told how many there are, and ends the run.
#pragma once

#include <faiss_flash/cuda/update/entries.h>

#include <cstdint>

namespace faiss_flash::cuda {

/// The id, or the last cluster's in the place of one that is none.
__device__ inline int32_t as_index(const Entries& entries, int32_t id) {
    const auto last = static_cast<uint32_t>(entries.k - 1);
    return static_cast<int32_t>(min(static_cast<uint32_t>(id), last));
}

__device__ inline void count_invalid(const Entries& entries, int32_t problem, int32_t points) {
    if (points > 0) {
        atomicAdd(
                reinterpret_cast<unsigned long long*>(&entries.counts[problem].invalid),
                static_cast<unsigned long long>(points));
    }
}

} // namespace faiss_flash::cuda
