/// Thread block clusters: blocks that run together and see each other's shared memory (sm_90).
#pragma once

#include <faiss_flash/cuda/ptx/mbarrier.cuh>

#include <cuda.h>

#include <cstdint>

namespace faiss_flash::cuda::ptx {

__device__ inline uint32_t cluster_rank() {
    uint32_t rank;
    asm volatile("mov.u32 %0, %%cluster_ctarank;" : "=r"(rank));
    return rank;
}

/// All threads of all blocks of the cluster have arrived, and see what was written before.
__device__ inline void cluster_sync() {
    asm volatile(
            "barrier.cluster.arrive.release.aligned;\n"
            "barrier.cluster.wait.acquire.aligned;" ::
                    : "memory");
}

/// Arrives on the barrier at this place in the shared memory of block `rank`.
__device__ inline void mbarrier_arrive_at(uint64_t* barrier, uint32_t rank) {
    asm volatile(
            "{\n"
            ".reg .b32 remote;\n"
            "mapa.shared::cluster.u32 remote, %0, %1;\n"
            "mbarrier.arrive.release.cluster.shared::cluster.b64 _, [remote];\n"
            "}" ::"r"(shared_address(barrier)),
            "r"(rank)
            : "memory");
}

/// The box of a tensor map, to the same place in every block of `blocks` (bit r: rank r); each
/// one's barrier counts the bytes.
__device__ inline void tma_load_3d_multicast(
        void* destination,
        const CUtensorMap& map,
        uint64_t* barrier,
        uint16_t blocks,
        int column,
        int row,
        int batch) {
    asm volatile(
            "cp.async.bulk.tensor.3d.shared::cluster.global.mbarrier::complete_tx::bytes"
            ".multicast::cluster [%0], [%1, {%4, %5, %6}], [%2], %3;" ::"r"(
                    shared_address(destination)),
            "l"(&map),
            "r"(shared_address(barrier)),
            "h"(blocks),
            "r"(column),
            "r"(row),
            "r"(batch)
            : "memory");
}

} // namespace faiss_flash::cuda::ptx
