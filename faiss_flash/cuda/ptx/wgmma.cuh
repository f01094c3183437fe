/// wgmma: a warpgroup's matrix product into registers (sm_90a).
///
/// Operands are K-major tiles of 32, 64 or 128 bytes a row, swizzled over the row's width as the
/// bulk tensor copy leaves them: 8 rows make an atom.
#pragma once

#include <faiss_flash/cuda/ptx/mbarrier.cuh>

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <cstdint>
#include <type_traits>

namespace faiss_flash::cuda::ptx {

/// Descriptor of an operand tile that starts on a 1024-byte boundary, or 32 bytes (one product's
/// columns) times a small number after one. kWidth: bytes of a row.
template <int kWidth>
__device__ inline uint64_t swizzled_operand(const void* tile) {
    static_assert(kWidth == 32 || kWidth == 64 || kWidth == 128, "the hardware's swizzles");
    constexpr uint64_t kSwizzle = uint64_t{kWidth == 128 ? 1 : kWidth == 64 ? 2 : 3} << 62;
    constexpr uint64_t kAtomStride = uint64_t{8 * kWidth >> 4} << 32;
    constexpr uint64_t kUnusedLeadingStride = uint64_t{1} << 16;
    return kSwizzle | kAtomStride | kUnusedLeadingStride | ((shared_address(tile) & 0x3FFFF) >> 4);
}

/// Descriptor of an operand tile without a swizzle: 8 rows of 16 bytes one after the other make a
/// core matrix of 128 bytes; those of 8 rows further follow, and those of the next 16 bytes of the
/// rows come kChunkBytes later.
template <int kChunkBytes>
__device__ inline uint64_t interleaved_operand(const void* tile) {
    constexpr uint64_t kNextColumns = uint64_t{kChunkBytes >> 4} << 16;
    constexpr uint64_t kNextRows = uint64_t{128 >> 4} << 32;
    return kNextColumns | kNextRows | ((shared_address(tile) & 0x3FFFF) >> 4);
}

/// Where the swizzle puts 16-byte chunk `chunk` of row `row`, as a chunk of that row.
template <int kWidth>
__device__ inline int swizzled_chunk(int row, int chunk) {
    return chunk ^ (row * kWidth / 128) % (kWidth / 16);
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
#define FAISS_FLASH_R64(a, i)                                                      \
    FAISS_FLASH_R16(a, i), FAISS_FLASH_R16(a, i + 16), FAISS_FLASH_R16(a, i + 32), \
            FAISS_FLASH_R16(a, i + 48)
#define FAISS_FLASH_OPERANDS_64                                         \
    "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, " \
    "%15, %16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, " \
    "%28, %29, %30, %31, %32, %33, %34, %35, %36, %37, %38, %39, %40, " \
    "%41, %42, %43, %44, %45, %46, %47, %48, %49, %50, %51, %52, %53, " \
    "%54, %55, %56, %57, %58, %59, %60, %61, %62, %63"
#define FAISS_FLASH_OPERANDS_128                                         \
    FAISS_FLASH_OPERANDS_64                                              \
    ", "                                                                 \
    "%64, %65, %66, %67, %68, %69, %70, %71, %72, %73, %74, %75, %76, "  \
    "%77, %78, %79, %80, %81, %82, %83, %84, %85, %86, %87, %88, %89, "  \
    "%90, %91, %92, %93, %94, %95, %96, %97, %98, %99, %100, %101, "     \
    "%102, %103, %104, %105, %106, %107, %108, %109, %110, %111, %112, " \
    "%113, %114, %115, %116, %117, %118, %119, %120, %121, %122, %123, " \
    "%124, %125, %126, %127"

#define FAISS_FLASH_WGMMA_SHARED_128(TYPE)                                    \
    asm volatile("wgmma.mma_async.sync.aligned.m64n128k16.f32." TYPE "." TYPE \
                 " {" FAISS_FLASH_OPERANDS_64 "}, %64, %65, 1, 1, 1, 0, 0;"   \
                 : FAISS_FLASH_R64(acc, 0)                                    \
                 : "l"(a), "l"(b))
#define FAISS_FLASH_WGMMA_SHARED_256(TYPE)                                     \
    asm volatile("wgmma.mma_async.sync.aligned.m64n256k16.f32." TYPE "." TYPE  \
                 " {" FAISS_FLASH_OPERANDS_128 "}, %128, %129, 1, 1, 1, 0, 0;" \
                 : FAISS_FLASH_R64(acc, 0), FAISS_FLASH_R64(acc, 64)           \
                 : "l"(a), "l"(b))
#define FAISS_FLASH_WGMMA_REGISTERS(SHAPE, TYPE, ACCUMULATE, SIGN, LAYOUT)                \
    asm volatile("wgmma.mma_async.sync.aligned." SHAPE ".f32." TYPE "." TYPE              \
                 " {" FAISS_FLASH_OPERANDS_64 "}, {%64, %65, %66, %67}, %68, " ACCUMULATE \
                 ", " SIGN ", 1" LAYOUT ";"                                               \
                 : FAISS_FLASH_R64(acc, 0)                                                \
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b))

/// acc [64 x n] += a [64 x 16] . b [n x 16]^T, a and b in shared memory, n = twice the registers. A
/// thread holds rows 16 * warp + lane / 4 (acc[4 j], [4 j + 1]) and 8 rows below (acc[4 j + 2],
/// [4 j + 3]), columns 8 j + 2 (lane % 4) + {0, 1}.
template <class Element>
__device__ inline void wgmma(float (&acc)[64], uint64_t a, uint64_t b) {
    if constexpr (std::is_same_v<Element, __half>) {
        FAISS_FLASH_WGMMA_SHARED_128("f16");
    } else {
        FAISS_FLASH_WGMMA_SHARED_128("bf16");
    }
}
template <class Element>
__device__ inline void wgmma(float (&acc)[128], uint64_t a, uint64_t b) {
    if constexpr (std::is_same_v<Element, __half>) {
        FAISS_FLASH_WGMMA_SHARED_256("f16");
    } else {
        FAISS_FLASH_WGMMA_SHARED_256("bf16");
    }
}

/// The same with a in registers, as load_operand leaves it: each warp has its own 16 rows.
template <class Element>
__device__ inline void wgmma(float (&acc)[64], const uint32_t (&a)[4], uint64_t b) {
    if constexpr (std::is_same_v<Element, __half>) {
        FAISS_FLASH_WGMMA_REGISTERS("m64n128k16", "f16", "1", "1", ", 0");
    } else {
        FAISS_FLASH_WGMMA_REGISTERS("m64n128k16", "bf16", "1", "1", ", 0");
    }
}

/// acc [64 x 128] -= a . b [128 x 16]^T.
template <class Element>
__device__ inline void wgmma_subtract(float (&acc)[64], const uint32_t (&a)[4], uint64_t b) {
    if constexpr (std::is_same_v<Element, __half>) {
        FAISS_FLASH_WGMMA_REGISTERS("m64n128k16", "f16", "1", "-1", ", 0");
    } else {
        FAISS_FLASH_WGMMA_REGISTERS("m64n128k16", "bf16", "1", "-1", ", 0");
    }
}

/// acc [64 x 128] = a [64 x 8] . b [128 x 8]^T of float32 values cut to tf32: a thread holds
/// columns lane % 4 (a[0], and a[1] 8 rows below) and lane % 4 + 4 (a[2], a[3]).
__device__ inline void wgmma_start_tf32(float (&acc)[64], const uint32_t (&a)[4], uint64_t b) {
    FAISS_FLASH_WGMMA_REGISTERS("m64n128k8", "tf32", "0", "1", "");
}

/// This warp's 16 x 16 part of a swizzled operand tile of 64 rows, at 16-column step `step`.
template <int kWidth>
__device__ inline void load_operand(uint32_t (&a)[4], const void* tile, int step) {
    const int lane = static_cast<int>(threadIdx.x) % 32;
    const int row = static_cast<int>(threadIdx.x) % 128 / 32 * 16 + lane % 16;
    const int chunk = swizzled_chunk<kWidth>(row, 2 * step + lane / 16);
    const uint32_t address = shared_address(tile) + row * kWidth + chunk * 16;
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(a[0]), "=r"(a[1]), "=r"(a[2]), "=r"(a[3])
                 : "r"(address)
                 : "memory");
}

#undef FAISS_FLASH_WGMMA_REGISTERS
#undef FAISS_FLASH_WGMMA_SHARED_256
#undef FAISS_FLASH_WGMMA_SHARED_128
#undef FAISS_FLASH_OPERANDS_128
#undef FAISS_FLASH_OPERANDS_64
#undef FAISS_FLASH_R64
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
