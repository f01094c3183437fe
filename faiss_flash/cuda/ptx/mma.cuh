/// mma: a warp's 16 x 8 x 16 matrix product, and the copies that feed it (sm_80).
#pragma once

#include <faiss_flash/cuda/ptx/mbarrier.cuh>

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <cstdint>
#include <type_traits>

namespace faiss_flash::cuda::ptx {

/// Four 8 x 8 matrices of 2-byte elements; lane l gives the address of row l % 8 of matrix l / 8.
__device__ inline void load_matrices(uint32_t (&a)[4], const void* row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(a[0]), "=r"(a[1]), "=r"(a[2]), "=r"(a[3])
                 : "r"(shared_address(row))
                 : "memory");
}

/// acc [16 x 8] += a [16 x 16] . b [8 x 16]^T. A thread holds row lane / 4 (acc[0], acc[1]) and 8
/// rows below (acc[2], acc[3]), columns 2 (lane % 4) + {0, 1}.
template <class Element>
__device__ inline void mma_16x8x16(float* acc, const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
    if constexpr (std::is_same_v<Element, __half>) {
        asm volatile(
                "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 "
                "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
                : "+f"(acc[0]), "+f"(acc[1]), "+f"(acc[2]), "+f"(acc[3])
                : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
    } else {
        asm volatile(
                "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 "
                "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
                : "+f"(acc[0]), "+f"(acc[1]), "+f"(acc[2]), "+f"(acc[3])
                : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
    }
}

/// acc = start + a . b^T.
template <class Element>
__device__ inline void mma_16x8x16(
        float* acc, const uint32_t (&a)[4], uint32_t b0, uint32_t b1, const float4& start) {
    if constexpr (std::is_same_v<Element, __half>) {
        asm volatile(
                "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 "
                "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%10, %11, %12, %13};"
                : "=f"(acc[0]), "=f"(acc[1]), "=f"(acc[2]), "=f"(acc[3])
                : "r"(a[0]),
                  "r"(a[1]),
                  "r"(a[2]),
                  "r"(a[3]),
                  "r"(b0),
                  "r"(b1),
                  "f"(start.x),
                  "f"(start.y),
                  "f"(start.z),
                  "f"(start.w));
    } else {
        asm volatile(
                "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 "
                "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%10, %11, %12, %13};"
                : "=f"(acc[0]), "=f"(acc[1]), "=f"(acc[2]), "=f"(acc[3])
                : "r"(a[0]),
                  "r"(a[1]),
                  "r"(a[2]),
                  "r"(a[3]),
                  "r"(b0),
                  "r"(b1),
                  "f"(start.x),
                  "f"(start.y),
                  "f"(start.z),
                  "f"(start.w));
    }
}

/// 16 bytes from global to shared memory, `bytes` of them read and the others zero.
__device__ inline void copy_16(void* destination, const void* source, int bytes) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(destination)),
                 "l"(source),
                 "r"(bytes)
                 : "memory");
}

__device__ inline void copy_commit() {
    asm volatile("cp.async.commit_group;" ::: "memory");
}

template <int Pending>
__device__ inline void copy_wait() {
    asm volatile("cp.async.wait_group %0;" ::"n"(Pending) : "memory");
}

} // namespace faiss_flash::cuda::ptx
