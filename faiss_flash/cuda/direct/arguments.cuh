/// What the kernels of the direct method share: for sources that are compiled without contraction.
#pragma once

#include <faiss_flash/core/shard.h>
#include <faiss_flash/cuda/direct/assign.h>
#include <faiss_flash/cuda/exact/bounds.cuh>

#include <cuda_runtime_api.h>

#include <cstdint>

namespace faiss_flash::cuda {

struct DirectArguments {
    const uint8_t* points; // [batch x n], row_bytes apart
    int64_t row_bytes;
    DType dtype;
    const float* centroids; // [batch x k x d]
    const float* mean;
    const float* mean_length;
    const float* point_scale;
    const float* rows;
    const float* bias;
    const DirectBounds* bounds;
    int64_t n;
    int32_t k, padded_k;
    int d;
    bool l2;
    int32_t* ids;
    IterationCounts* counts;
};

inline constexpr int kDirectGroup = 16; ///< centroids that are looked at together

/// Centroids of a tile in shared memory, whose rows have so many columns.
template <int kColumns>
inline constexpr int32_t kMostTile = 40 * 1024 / (4 * (kColumns + 1)) / kDirectGroup* kDirectGroup;

/// The best of a problem's centroids by one thread, or by some lanes, a row; of rows that are as
/// the DirectCentroids' columns say: up to 32 in short_rows.cu, more in long_rows.cu.
void assign_short_rows(
        const DirectArguments& arguments, int64_t columns, int64_t batch, cudaStream_t stream);
void assign_long_rows(const DirectArguments& arguments, int64_t batch, cudaStream_t stream);

template <class Element>
__device__ const Element* point_of(const DirectArguments& arguments, int64_t row) {
    return reinterpret_cast<const Element*>(arguments.points + row * arguments.row_bytes);
}

/// Twice the largest error of a score; not finite where scores say nothing.
__device__ inline float margin_of(
        double length, const DirectBounds& bounds, int d, const Float64Error& float64_error) {
    const double error = (d + 16) * 0x1p-23 * (length * bounds.length + bounds.bias) +
                         double{float64_error(round_up(length), bounds.length)} + kLeastError;
    return round_up(2.01 * error);
}

/// As DirectArguments' margin, of a row whose |x'|^2 was added up in float32: some of its squares
/// may have vanished.
__device__ inline double length_of(float square) {
    return sqrtf(square) * (1 + 0x1p-16) + 1e-18;
}

/// Copies a tile of the table into shared memory, by all threads of the block.
__device__ inline void load_tile(
        const float* from,
        const float* from_bias,
        int columns,
        int count,
        float* rows,
        float* bias) {
    const auto* vectors = reinterpret_cast<const float4*>(from);
    const auto threads = static_cast<int>(blockDim.x);
#pragma unroll 8
    for (int i = static_cast<int>(threadIdx.x); i < count * columns / 4; i += threads) {
        reinterpret_cast<float4*>(rows)[i] = vectors[i];
    }
    for (int i = static_cast<int>(threadIdx.x); i < count; i += threads) {
        bias[i] = from_bias[i];
    }
}

/// Adds the rows that float64 decided, by all lanes of a warp.
__device__ inline void count_decided(IterationCounts* counts, int decided) {
    decided = __reduce_add_sync(~0u, decided);
    if (threadIdx.x % 32 == 0 && decided > 0) {
        atomicAdd(
                reinterpret_cast<unsigned long long*>(&counts->decided),
                static_cast<unsigned long long>(decided));
    }
}

} // namespace faiss_flash::cuda
