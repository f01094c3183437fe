/// FlashAssign for few columns and few centroids (the sub-spaces of a product quantizer), sm_80 and
/// later: all centroids of a problem stay in shared memory, and every warp goes its own way.
///
/// Budget: with d <= 16 neither memory (N d 2 bytes in, N 8 out) nor the tensor cores (one product
/// makes 128 scores) are the limit, but the instructions that reduce the scores: 1.1 of the
/// maxima's pipe (64 lanes a clock and multiprocessor) and 3 in all for a score, 40 scores a clock.
///
/// 1. A block copies the centroids of its problem to shared memory once, in the order in which the
///    products' operands want them: a lane reads 16 bytes for two blocks of 8 centroids.
/// 2. A warp takes 32 points at a time to registers, and reads the next 32 ahead.
/// 3. For every 32 centroids it makes 32 x 32 scores by mma.sync, which start as the biases, and
///    updates the running best of its rows (saved_best.cuh, in registers).
/// 4. After the last centroid best score, second best and id are written.
#pragma once

#include <faiss_flash/cuda/assign/tile_config.h>
#include <faiss_flash/cuda/assign/saved_best.cuh>
#include <faiss_flash/cuda/ptx/mma.cuh>

#include <cstdint>

namespace faiss_flash::cuda::onchip {

struct Arguments {
    const uint8_t* points; ///< rows at multiples of 4 bytes
    int64_t point_row_bytes, point_batch_bytes;
    const uint16_t* centroids; ///< [batch x k x row_elements], zero padded
    int64_t row_elements;
    const float* bias; ///< [batch x bias_batch], -inf from k on
    int64_t bias_batch;
    float* best;   ///< [batch x n]
    float* second; ///< [batch x n]; read only where kSecond
    int32_t* ids;  ///< [batch x n]
    int32_t n, k, d;
    int32_t groups; ///< of 32 centroids
};

__device__ inline void copy_centroids(
        const Arguments& arguments, int batch, uint32_t* operands, float* biases) {
    constexpr int kWords = OnchipTile::kOperandBytes / 4;
    const uint16_t* rows = arguments.centroids + batch * arguments.k * arguments.row_elements;
    for (int i = static_cast<int>(threadIdx.x); i < arguments.groups * kWords;
         i += OnchipTile::kThreads) {
        // i = pair of blocks * 128 + lane * 4 + block * 2 + half
        const int lane = i / 4 % 32;
        const int row = 8 * (i / 128 * 2 + i / 2 % 2) + lane / 4;
        const int column = 8 * (i % 2) + 2 * (lane % 4);
        uint32_t word = 0;
        if (row < arguments.k && column < arguments.row_elements) {
            word = *reinterpret_cast<const uint32_t*>(rows + row * arguments.row_elements + column);
        }
        operands[i] = word;
    }
    const float* bias = arguments.bias + batch * arguments.bias_batch;
    for (int i = static_cast<int>(threadIdx.x); i < arguments.groups * OnchipTile::kCentroids * 2;
         i += OnchipTile::kThreads) {
        // i = block * 16 + column / 2 * 4 + row half * 2 + column % 2: both rows' start the same
        biases[i] = bias[i / 16 * 8 + i / 4 % 4 * 2 + i % 2];
    }
}

/// A lane's part of 32 points; elements from d on are masked away.
__device__ inline void load_points(
        uint32_t (&points)[OnchipTile::kRowBlocks][4],
        const Arguments& arguments,
        const uint8_t* base,
        int first) {
    const int lane = static_cast<int>(threadIdx.x) % 32;
#pragma unroll
    for (int block = 0; block < OnchipTile::kRowBlocks; block++) {
#pragma unroll
        for (int i = 0; i < 4; i++) {
            const int row = first + 16 * block + i % 2 * 8 + lane / 4;
            const int column = i / 2 * 8 + 2 * (lane % 4);
            uint32_t word = 0;
            if (row < arguments.n && column < arguments.d) {
                word = *reinterpret_cast<const uint32_t*>(
                        base + row * arguments.point_row_bytes + 2 * column);
                word = column + 1 < arguments.d ? word : word & 0xFFFF;
            }
            points[block][i] = word;
        }
    }
}

template <class Element, bool kSecond>
__global__ void __launch_bounds__(OnchipTile::kThreads, OnchipTile::kBlocks)
        assign_kernel(const Arguments arguments) {
    extern __shared__ __align__(16) uint8_t raw[];
    auto* operands = reinterpret_cast<uint32_t*>(raw);
    auto* biases = reinterpret_cast<float*>(raw + arguments.groups * OnchipTile::kOperandBytes);
    const int batch = blockIdx.y;
    copy_centroids(arguments, batch, operands, biases);
    __syncthreads();

    const int lane = static_cast<int>(threadIdx.x) % 32;
    const int warp =
            (static_cast<int>(blockIdx.x) * OnchipTile::kThreads + static_cast<int>(threadIdx.x)) /
            32;
    const int stride =
            static_cast<int>(gridDim.x) * (OnchipTile::kThreads / 32) * OnchipTile::kWarpPoints;
    const uint8_t* base = arguments.points + batch * arguments.point_batch_bytes;
    const auto* lane_operands = reinterpret_cast<const uint4*>(operands) + lane;
    const auto* lane_biases = reinterpret_cast<const float4*>(biases) + lane % 4;
    SavedBest<
            OnchipTile::kRowBlocks,
            OnchipTile::kCentroids,
            kSecond,
            HighestScore,
            RegisterGroups<2 * OnchipTile::kRowBlocks>>
            rows;
    uint32_t next[OnchipTile::kRowBlocks][4];
    load_points(next, arguments, base, warp * OnchipTile::kWarpPoints);
    for (int first = warp * OnchipTile::kWarpPoints; first < arguments.n; first += stride) {
        uint32_t points[OnchipTile::kRowBlocks][4];
#pragma unroll
        for (int i = 0; i < 4 * OnchipTile::kRowBlocks; i++) {
            points[i / 4][i % 4] = next[i / 4][i % 4];
        }
        load_points(next, arguments, base, first + stride);
        rows.reset();
#pragma unroll 2
        for (int group = 0; group < arguments.groups; group++) {
            float acc[OnchipTile::kRowBlocks][16];
#pragma unroll
            for (int pair = 0; pair < 2; pair++) {
                const int at = 2 * group + pair;
                const float4 left = lane_biases[at * 8];
                const float4 right = lane_biases[at * 8 + 4];
                const uint4 b = lane_operands[at * 32];
#pragma unroll
                for (int block = 0; block < OnchipTile::kRowBlocks; block++) {
                    float* scores = &acc[block][8 * pair];
                    ptx::mma_16x8x16<Element>(scores, points[block], b.x, b.y, left);
                    ptx::mma_16x8x16<Element>(scores + 4, points[block], b.z, b.w, right);
                }
            }
            rows.update(acc, group * OnchipTile::kCentroids);
        }
        rows.finish();
        if (lane % 4 == 0) {
#pragma unroll
            for (int r = 0; r < 2 * OnchipTile::kRowBlocks; r++) {
                const int row = first + 8 * r + lane / 4;
                if (row < arguments.n) {
                    const int64_t at = int64_t{batch} * arguments.n + row;
                    arguments.best[at] = rows.best[r];
                    arguments.ids[at] = rows.id[r];
                    if (kSecond) {
                        arguments.second[at] = rows.second[r];
                    }
                }
            }
        }
    }
}

} // namespace faiss_flash::cuda::onchip
