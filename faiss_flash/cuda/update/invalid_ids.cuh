/// Ids that are not a centroid's, told to the host.
#pragma once

#include <faiss_flash/cuda/update/entries.h>

#include <cstdint>

namespace faiss_flash::cuda {

/// Of points whose id is not what Entries::as_index() makes of it.
__device__ inline void count_invalid(const Entries& entries, int32_t problem, int32_t points) {
    if (points > 0) {
        atomicAdd(
                reinterpret_cast<unsigned long long*>(&entries.counts[problem].invalid),
                static_cast<unsigned long long>(points));
    }
}

} // namespace faiss_flash::cuda
