/// How long an f16 row is and what rounding took from it, in 4 bytes: two bf16 numbers, rounded up.
#pragma once

#include <cuda_bf16.h>

#include <cstdint>

namespace faiss_flash::cuda {

struct RowSize {
    float length;   ///< of the f16 row
    float residual; ///< |exact - f16|
};

__device__ inline uint32_t packed_size(float length, float residual) {
    return static_cast<uint32_t>(__bfloat16_as_ushort(__float2bfloat16_ru(length))) |
           static_cast<uint32_t>(__bfloat16_as_ushort(__float2bfloat16_ru(residual))) << 16;
}

__device__ inline RowSize row_size(uint32_t packed) {
    return {__uint_as_float(packed << 16), __uint_as_float(packed & 0xFFFF0000u)};
}

} // namespace faiss_flash::cuda
