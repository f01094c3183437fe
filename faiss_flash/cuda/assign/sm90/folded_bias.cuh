/// Distances of one sign: the biases, and a term of every row, come in by a product of their own.
///
/// The accumulators become reach_i + bias_k - x_i . c_k, where reach_i is a bound of the row's
/// scores: min(|x|^2 / 2, |x| max|c|) for L2, |x| max|c| for inner products, rounded up by 2^-7.
/// All of them are >= 0 and order as integers. The product is of tf32 values: bias_k in three parts
/// that add up to all 24 bits against 1, 1, 1, and reach_i in one against 1. It takes the tensor
/// cores as long as 16 columns do, and spares the epilogue's threads half their work.
///
/// Rows of 32 or 64 bytes make bank conflicts of the tensor cores' reads, whatever the swizzle:
/// tiles with folded biases are prepared as images of core matrices, 128 bytes each, that are
/// copied as they are.
#pragma once

#include <faiss_flash/cuda/ptx/wgmma.cuh>

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <cstdint>
#include <type_traits>

namespace faiss_flash::cuda {

inline constexpr uint32_t kTf32Mask = 0xFFFFE000;
inline constexpr int kFoldedRows = 128;                        ///< centroids of a tile
inline constexpr int kFoldedChunk = 16;                        ///< bytes of a row in a core matrix
inline constexpr int kChunkBytes = kFoldedRows * kFoldedChunk; ///< that chunk of all rows
inline constexpr int kBiasChunks = 2;                          ///< 8 tf32 values

constexpr int folded_steps_of(int64_t d) {
    return static_cast<int>((d + 15) / 16);
}

/// Bytes of a tile of centroids of `steps` times 16 columns: their chunks, then the biases'.
__host__ __device__ constexpr int folded_tile_bytes(int steps) {
    return (2 * steps + kBiasChunks) * kChunkBytes;
}

/// Bytes from the start of a tile to chunk `chunk` of centroid `row`.
__host__ __device__ constexpr int folded_offset(int row, int chunk) {
    return chunk * kChunkBytes + row * kFoldedChunk;
}

/// The bias in parts against (1, 1, 1, reach).
__device__ inline float4 folded_bias(float bias) {
    const float high = __uint_as_float(__float_as_uint(bias) & kTf32Mask);
    const float rest = isinf(bias) ? 0.0f : bias - high;
    const float middle = __uint_as_float(__float_as_uint(rest) & kTf32Mask);
    return make_float4(high, middle, rest - middle, 1.0f);
}

template <class Element>
__device__ inline float2 unpack(uint32_t pair) {
    if constexpr (std::is_same_v<Element, __half>) {
        return __half22float2(reinterpret_cast<const __half2&>(pair));
    } else {
        return __bfloat1622float2(reinterpret_cast<const __nv_bfloat162&>(pair));
    }
}

/// |x|^2 of the thread's two rows in a 64-row block of points in registers, scaled.
template <class Element, int kSteps>
__device__ inline void row_squares(
        float (&squares)[2], const uint32_t (&points)[kSteps][4], float scale) {
#pragma unroll
    for (int half = 0; half < 2; half++) {
        float sum = 0;
#pragma unroll
        for (int i = 0; i < 2 * kSteps; i++) {
            const float2 pair = unpack<Element>(points[i / 2][half + i % 2 * 2]);
            const float x = pair.x * scale;
            const float y = pair.y * scale;
            sum += x * x + y * y;
        }
        sum += __shfl_xor_sync(~0u, sum, 1);
        squares[half] = sum + __shfl_xor_sync(~0u, sum, 2);
    }
}

/// The reach of the thread's two rows, cut to tf32.
template <class Element, int kSteps>
__device__ inline void row_reach(
        float (&reach)[2], const uint32_t (&points)[kSteps][4], float longest, bool half_square) {
    float squares[2];
    row_squares<Element>(squares, points, 1.0f);
    const float high = fmaxf(squares[0], squares[1]);
    const float low = fminf(squares[0], squares[1]);
    const bool unsafe = high > 0x1p120f || low < 0x1p-100f;
    float length[2];
#pragma unroll
    for (int half = 0; half < 2; half++) {
        length[half] = __fsqrt_rn(squares[half]);
    }
    if (__any_sync(~0u, unsafe)) {
        // Squares that overflow or vanish: of scaled values, exact by powers of two.
        for (const float scale : {0x1p-96f, 0x1p96f}) {
            float scaled[2];
            row_squares<Element>(scaled, points, scale);
#pragma unroll
            for (int half = 0; half < 2; half++) {
                const bool take = scale < 1 ? squares[half] > 0x1p120f : squares[half] < 0x1p-100f;
                length[half] = take ? __fsqrt_rn(scaled[half]) / scale : length[half];
            }
        }
    }
#pragma unroll
    for (int half = 0; half < 2; half++) {
        const float bound = length[half] * longest;
        const float term = half_square ? fminf(bound, 0.5f * length[half] * length[half]) : bound;
        reach[half] = __uint_as_float(__float_as_uint(term * (1.0f + 0x1p-7f)) & kTf32Mask);
    }
}

/// This thread's part of the product's left operand.
__device__ inline void folded_operand(uint32_t (&a)[4], const float (&reach)[2]) {
    const bool reaches = threadIdx.x % 4 == 3;
    a[0] = __float_as_uint(reaches ? reach[0] : 1.0f);
    a[1] = __float_as_uint(reaches ? reach[1] : 1.0f);
    a[2] = a[3] = 0;
}

} // namespace faiss_flash::cuda
