/// Bulk copies from global to shared memory that complete on an mbarrier (sm_90).
#pragma once

#include <faiss_flash/cuda/ptx/mbarrier.cuh>

#include <cuda.h>

#include <cstdint>

namespace faiss_flash::cuda::ptx {

/// The box of a tensor map at (column, row, batch); elements outside the tensor arrive as zeros.
__device__ inline void tma_load_3d(
        void* destination,
        const CUtensorMap& map,
        uint64_t* barrier,
        int column,
        int row,
        int batch) {
    asm volatile(
            "cp.async.bulk.tensor.3d.shared::cluster.global.mbarrier::complete_tx::bytes "
            "[%0], [%1, {%3, %4, %5}], [%2];" ::"r"(shared_address(destination)),
            "l"(&map),
            "r"(shared_address(barrier)),
            "r"(column),
            "r"(row),
            "r"(batch)
            : "memory");
}

/// `bytes` contiguous bytes; all three a multiple of 16.
__device__ inline void bulk_load(
        void* destination, const void* source, uint32_t bytes, uint64_t* barrier) {
    asm volatile(
            "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes "
            "[%0], [%1], %2, [%3];" ::"r"(shared_address(destination)),
            "l"(source),
            "r"(bytes),
            "r"(shared_address(barrier))
            : "memory");
}

__device__ inline void prefetch_tensor_map(const CUtensorMap& map) {
    asm volatile("prefetch.tensormap [%0];" ::"l"(&map) : "memory");
}

} // namespace faiss_flash::cuda::ptx
