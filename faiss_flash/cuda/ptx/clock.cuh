/// The device's clock.
#pragma once

#include <cstdint>

namespace faiss_flash::cuda::ptx {

/// Nanoseconds, the same on all multiprocessors.
__device__ inline uint64_t globaltimer() {
    uint64_t now;
    asm volatile("mov.u64 %0, %%globaltimer;" : "=l"(now)::"memory");
    return now;
}

} // namespace faiss_flash::cuda::ptx
