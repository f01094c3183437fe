/// mbarrier: the shared-memory barrier that bulk copies complete on (PTX ISA 9.7.13, sm_90).
#pragma once

#include <cstdint>

namespace faiss_flash::cuda::ptx {

__device__ inline uint32_t shared_address(const void* pointer) {
    return static_cast<uint32_t>(__cvta_generic_to_shared(pointer));
}

__device__ inline void mbarrier_init(uint64_t* barrier, uint32_t arrivals) {
    asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(shared_address(barrier)),
                 "r"(arrivals)
                 : "memory");
}

/// Makes initialised barriers visible to the copy engine.
__device__ inline void mbarrier_init_fence() {
    asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
}

__device__ inline void mbarrier_arrive(uint64_t* barrier) {
    asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(shared_address(barrier))
                 : "memory");
}

/// Arrives, and lets the phase end only when `bytes` have been copied as well.
__device__ inline void mbarrier_arrive_expect(uint64_t* barrier, uint32_t bytes) {
    asm volatile(
            "mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(shared_address(barrier)),
            "r"(bytes)
            : "memory");
}

/// Waits until the phase of this parity has ended.
__device__ inline void mbarrier_wait(uint64_t* barrier, uint32_t parity) {
    asm volatile(
            "{\n"
            ".reg .pred done;\n"
            "again%=:\n"
            "mbarrier.try_wait.parity.shared::cta.b64 done, [%0], %1;\n"
            "@done bra finished%=;\n"
            "bra again%=;\n"
            "finished%=:\n"
            "}" ::"r"(shared_address(barrier)),
            "r"(parity)
            : "memory");
}

/// Named barrier `id` of the block: waits until `threads` threads have arrived or synced.
__device__ inline void named_barrier_sync(int id, int threads) {
    asm volatile("bar.sync %0, %1;" ::"r"(id), "r"(threads) : "memory");
}

__device__ inline void named_barrier_arrive(int id, int threads) {
    asm volatile("bar.arrive %0, %1;" ::"r"(id), "r"(threads) : "memory");
}

} // namespace faiss_flash::cuda::ptx
