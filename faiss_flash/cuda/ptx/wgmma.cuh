/// wgmma: a warpgroup's matrix product into registers (sm_90a).
///
/// Both operands are K-major tiles of 64 columns of 2-byte elements, 128-byte swizzled as the bulk
/// tensor copy leaves them: 8 rows of 128 bytes make a 1024-byte atom.
#pragma once

#include <faiss_flash/cuda/ptx/mbarrier.cuh>

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <cstdint>
#include <type_traits>

namespace faiss_flash::cuda::ptx {

/// Descriptor of an operand tile that starts on a 1024-byte boundary, or 32 bytes (16 columns)
/// times a small number after one.
__device__ inline uint64_t swizzled_operand(const void* tile) {
    constexpr uint64_t kSwizzle128 = uint64_t{1} << 62;
    constexpr uint64_t kAtomStride = uint64_t{1024 >> 4} << 32;
    constexpr uint64_t kUnusedLeadingStride = uint64_t{1} << 16;
    return kSwizzle128 | kAtomStride | kUnusedLeadingStride |
           ((shared_address(tile) & 0x3FFFF) >> 4);
}

/// Orders earlier writes to the accumulator registers before the products that follow.
__device__ inline void wgmma_fence() {
    asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
}

__device__ inline void wgmma_commit() {
    asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
}

template <int Pending>
__device__ inline void wgmma_wait() {
    asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(Pending) : "memory");
}

/// Keeps the compiler from moving accesses to an accumulator across this point.
template <int Count>
__device__ inline void pin_registers(float (&registers)[Count]) {
#pragma unroll
    for (int i = 0; i < Count; i++) {
        asm volatile("" : "+f"(registers[i])::"memory");
    }
}

#define FAISS_FLASH_R4(a, i) "+f"(a[i]), "+f"(a[i + 1]), "+f"(a[i + 2]), "+f"(a[i + 3])
#define FAISS_FLASH_R16(a, i)                                                 \
    FAISS_FLASH_R4(a, i), FAISS_FLASH_R4(a, i + 4), FAISS_FLASH_R4(a, i + 8), \
            FAISS_FLASH_R4(a, i + 12)
#define FAISS_FLASH_WGMMA_SHARED(TYPE)                                        \
    asm volatile("wgmma.mma_async.sync.aligned.m64n128k16.f32." TYPE "." TYPE \
                 " {"                                                         \
                 "%0, %1, %2, %3, %4, %5, %6, %7, "                           \
                 "%8, %9, %10, %11, %12, %13, %14, %15, "                     \
                 "%16, %17, %18, %19, %20, %21, %22, %23, "                   \
                 "%24, %25, %26, %27, %28, %29, %30, %31, "                   \
                 "%32, %33, %34, %35, %36, %37, %38, %39, "                   \
                 "%40, %41, %42, %43, %44, %45, %46, %47, "                   \
                 "%48, %49, %50, %51, %52, %53, %54, %55, "                   \
                 "%56, %57, %58, %59, %60, %61, %62, %63}, "                  \
                 "%64, %65, 1, 1, 1, 0, 0;"                                   \
                 : FAISS_FLASH_R16(acc, 0),                                   \
                   FAISS_FLASH_R16(acc, 16),                                  \
                   FAISS_FLASH_R16(acc, 32),                                  \
                   FAISS_FLASH_R16(acc, 48)                                   \
                 : "l"(a), "l"(b))
#define FAISS_FLASH_WGMMA_REGISTERS(TYPE)                                     \
    asm volatile("wgmma.mma_async.sync.aligned.m64n128k16.f32." TYPE "." TYPE \
                 " {"                                                         \
                 "%0, %1, %2, %3, %4, %5, %6, %7, "                           \
                 "%8, %9, %10, %11, %12, %13, %14, %15, "                     \
                 "%16, %17, %18, %19, %20, %21, %22, %23, "                   \
                 "%24, %25, %26, %27, %28, %29, %30, %31, "                   \
                 "%32, %33, %34, %35, %36, %37, %38, %39, "                   \
                 "%40, %41, %42, %43, %44, %45, %46, %47, "                   \
                 "%48, %49, %50, %51, %52, %53, %54, %55, "                   \
                 "%56, %57, %58, %59, %60, %61, %62, %63}, "                  \
                 "{%64, %65, %66, %67}, %68, 1, 1, 1, 0;"                     \
                 : FAISS_FLASH_R16(acc, 0),                                   \
                   FAISS_FLASH_R16(acc, 16),                                  \
                   FAISS_FLASH_R16(acc, 32),                                  \
                   FAISS_FLASH_R16(acc, 48)                                   \
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b))

/// acc [64 x 128] += a [64 x 16] . b [128 x 16]^T, a and b in shared memory. A thread holds rows
/// 16 * warp + lane / 4 (acc[4 j], [4 j + 1]) and 8 rows below (acc[4 j + 2], [4 j + 3]), columns
/// 8 j + 2 (lane % 4) + {0, 1}.
template <class Element>
__device__ inline void wgmma_64x128x16(float (&acc)[64], uint64_t a, uint64_t b) {
    if constexpr (std::is_same_v<Element, __half>) {
        FAISS_FLASH_WGMMA_SHARED("f16");
    } else {
        FAISS_FLASH_WGMMA_SHARED("bf16");
    }
}

/// The same with a in registers, as load_operand leaves it: each warp has its own 16 rows.
template <class Element>
__device__ inline void wgmma_64x128x16(float (&acc)[64], const uint32_t (&a)[4], uint64_t b) {
    if constexpr (std::is_same_v<Element, __half>) {
        FAISS_FLASH_WGMMA_REGISTERS("f16");
    } else {
        FAISS_FLASH_WGMMA_REGISTERS("bf16");
    }
}

/// This warp's 16 x 16 part of a swizzled operand tile of 64 rows, at 16-column step `step`.
__device__ inline void load_operand(uint32_t (&a)[4], const void* tile, int step) {
    const int lane = static_cast<int>(threadIdx.x) % 32;
    const int row = static_cast<int>(threadIdx.x) % 128 / 32 * 16 + lane % 16;
    const int chunk = (2 * step + lane / 16) ^ (row % 8); // of 16 bytes, as the copy swizzled it
    const uint32_t address = shared_address(tile) + row * 128 + chunk * 16;
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(a[0]), "=r"(a[1]), "=r"(a[2]), "=r"(a[3])
                 : "r"(address)
                 : "memory");
}

#undef FAISS_FLASH_WGMMA_REGISTERS
#undef FAISS_FLASH_WGMMA_SHARED
#undef FAISS_FLASH_R16
#undef FAISS_FLASH_R4

/// A role gives up, or takes, registers a thread; the block must be launched with a fixed size.
template <int Count>
__device__ inline void release_registers() {
    asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(Count));
}

template <int Count>
__device__ inline void claim_registers() {
    asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(Count));
}

} // namespace faiss_flash::cuda::ptx
