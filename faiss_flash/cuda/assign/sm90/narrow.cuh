/// FlashAssign for Hopper (sm_90a), d <= 32, where reducing the scores takes longer than making
/// them.
///
/// Budget: the tensor cores make 64 (d <= 16) or 43 (d <= 32) scores a clock and multiprocessor,
/// one third or one half of what the columns alone would allow, because a product for the biases
/// comes with them. The epilogue takes half an instruction of the minima's pipe (64 lanes a clock)
/// and 1.3 instructions in all for a score: 85 scores a clock at the very best. Memory as in
/// resident.cuh.
///
/// 1. A persistent grid takes points, 64 for each consumer warpgroup, into registers.
/// 2. A product makes distances of one sign (folded_bias.cuh), which compare as integers, three at
/// a
///    time (LowestDistance).
/// 3. A warpgroup makes 64 x 128 distances and reduces them, while the tensor cores make another's.
///    What it costs to bring its four warps together counts more than how many warpgroups there
///    are.
/// 4. After the last tile what the epilogue (epilogue.h) has found is written; nothing else is.
#pragma once

#include <faiss_flash/cuda/assign/tile_config.h>
#include <faiss_flash/cuda/assign/saved_best.cuh>
#include <faiss_flash/cuda/assign/sm90/folded_bias.cuh>
#include <faiss_flash/cuda/assign/sm90/pipeline.cuh>
#include <faiss_flash/cuda/ptx/mbarrier.cuh>
#include <faiss_flash/cuda/ptx/tma.cuh>
#include <faiss_flash/cuda/ptx/wgmma.cuh>

#include <cstdint>
#include <type_traits>

namespace faiss_flash::cuda::sm90 {

template <int kSteps>
struct NarrowShared {
    using Tile = NarrowTile<kSteps>;

    uint8_t points[Tile::kConsumers][Tile::kPointStages][Tile::kPointSliceBytes];
    uint8_t centroids[Tile::kStages][Tile::kStageBytes];
    float2 saved[Tile::kConsumers][Tile::kSavedScores / 2 * 128];
    uint64_t points_full[Tile::kConsumers][Tile::kPointStages];
    uint64_t points_empty[Tile::kConsumers][Tile::kPointStages];
    uint64_t full[Tile::kStages];
    uint64_t empty[Tile::kStages];
};

/// One thread: the points of each piece of work.
template <int kSteps, Epilogue kEpilogue>
__device__ __forceinline__ void load_narrow_points(
        const Arguments& arguments, NarrowShared<kSteps>& shared) {
    using Tile = NarrowTile<kSteps>;
    ptx::prefetch_tensor_map(arguments.points);
    RingPosition<Tile::kPointStages> p;
    for (int work = blockIdx.x; work < work_of<kEpilogue>(arguments, Tile::kPoints);
         work += gridDim.x) {
        const Piece piece(arguments, work, Tile::kPoints);
        for (int w = 0; w < Tile::kConsumers; w++) {
            uint64_t* barrier = &shared.points_full[w][p.stage];
            ptx::mbarrier_wait(&shared.points_empty[w][p.stage], p.parity ^ 1);
            ptx::mbarrier_arrive_expect(barrier, Tile::kPointSliceBytes);
            const int row = piece.row + w * Tile::kWarpgroupPoints;
            ptx::tma_load_3d(
                    shared.points[w][p.stage], arguments.points, barrier, 0, row, piece.batch);
        }
        p.advance();
    }
}

/// One thread: all centroids for each piece of work.
template <int kSteps, Epilogue kEpilogue>
__device__ __forceinline__ void load_narrow_centroids(
        const Arguments& arguments, NarrowShared<kSteps>& shared) {
    using Tile = NarrowTile<kSteps>;
    RingPosition<Tile::kStages> c;
    const int64_t padded_tiles = arguments.bias_batch / Tile::kCentroids;
    for (int work = blockIdx.x; work < work_of<kEpilogue>(arguments, Tile::kPoints);
         work += gridDim.x) {
        const Piece piece(arguments, work, Tile::kPoints);
        const uint8_t* from = arguments.folded + piece.batch * padded_tiles * Tile::kStageBytes;
        for (int tile = piece.first_tile; tile < piece.end_tile; tile++) {
            uint64_t* barrier = &shared.full[c.stage];
            ptx::mbarrier_wait(&shared.empty[c.stage], c.parity ^ 1);
            ptx::mbarrier_arrive_expect(barrier, Tile::kStageBytes);
            ptx::bulk_load(
                    shared.centroids[c.stage],
                    from + int64_t{tile} * Tile::kStageBytes,
                    Tile::kStageBytes,
                    barrier);
            c.advance();
        }
    }
}

/// Starts the distances of 64 points to a tile's centroids.
template <class Element, int kSteps>
__device__ __forceinline__ void multiply_narrow(
        float (&acc)[64],
        const uint32_t (&points)[kSteps][4],
        const uint32_t (&folded)[4],
        const uint8_t* tile) {
    constexpr uint64_t kStep = 2 * kChunkBytes >> 4;
    const uint64_t b = ptx::interleaved_operand<kChunkBytes>(tile);
    ptx::wgmma_fence();
    ptx::wgmma_start_tf32(acc, folded, b + kSteps * kStep);
#pragma unroll
    for (int step = 0; step < kSteps; step++) {
        ptx::wgmma_subtract<Element>(acc, points[step], b + step * kStep);
    }
    ptx::wgmma_commit();
}

template <class Element, int kSteps, Epilogue kEpilogue>
__device__ __forceinline__ void consume_narrow(
        const Arguments& arguments, NarrowShared<kSteps>& shared, int w) {
    using Tile = NarrowTile<kSteps>;
    RingPosition<Tile::kPointStages> p;
    RingPosition<Tile::kStages> c;
    constexpr bool kFilters = kEpilogue == Epilogue::candidates;
    constexpr bool kSecond = kEpilogue == Epilogue::second;
    using Best = SavedBest<1, Tile::kCentroids, kSecond, LowestDistance>;
    std::conditional_t<kFilters, Listed<1, Tile::kCentroids, LowestDistance>, Best> rows;
    if constexpr (!kFilters) {
        rows.saved.pairs = shared.saved[w] + threadIdx.x % 128;
    }
    float acc[1][Tile::kCentroids / 2];
    for (int work = blockIdx.x; work < work_of<kEpilogue>(arguments, Tile::kPoints);
         work += gridDim.x) {
        const Piece piece(arguments, work, Tile::kPoints);
        const int first_row = piece.row + w * Tile::kWarpgroupPoints;
        uint32_t points[kSteps][4];
        float reach[2];
        uint32_t folded[4];
        ptx::mbarrier_wait(&shared.points_full[w][p.stage], p.parity);
#pragma unroll
        for (int step = 0; step < kSteps; step++) {
            ptx::load_operand<2 * Tile::kColumns>(points[step], shared.points[w][p.stage], step);
        }
        row_reach<Element>(reach, points, arguments.reach[piece.batch], arguments.half_square);
        folded_operand(folded, reach);
        start_rows<kEpilogue>(arguments, piece, rows, first_row, [&](int r, float bar) {
            return __float_as_int(__fsub_ru(reach[r], bar)); // the largest distance of a candidate
        });
        for (int tile = piece.first_tile; tile < piece.end_tile; tile++) {
            ptx::mbarrier_wait(&shared.full[c.stage], c.parity);
            multiply_narrow<Element>(acc[0], points, folded, shared.centroids[c.stage]);
            ptx::wgmma_wait<0>();
            pin(acc);
            release(&shared.empty[c.stage]);
            // Only products that have read the registers prove that the loads into them are over.
            if (tile == piece.first_tile) {
                release(&shared.points_empty[w][p.stage]);
            }
            rows.update(acc, tile * Tile::kCentroids);
            c.advance();
        }
        p.advance();
        finish_rows<kEpilogue>(arguments, piece, rows, first_row, [&](int r, int32_t distance) {
            return reach[r] - __int_as_float(distance);
        });
    }
}

template <class Element, int kSteps, Epilogue kEpilogue>
__global__ void __launch_bounds__(NarrowTile<kSteps>::kThreads, 1)
        assign_narrow(const __grid_constant__ Arguments arguments) {
    using Tile = NarrowTile<kSteps>;
    auto& shared = *reinterpret_cast<NarrowShared<kSteps>*>(aligned_shared());
    if (threadIdx.x == 0) {
        init_ring(shared.full, shared.empty, Tile::kConsumers);
        for (int w = 0; w < Tile::kConsumers; w++) {
            init_ring(shared.points_full[w], shared.points_empty[w], 1);
        }
        ptx::mbarrier_init_fence();
    }
    __syncthreads();
    const int warpgroup = warpgroup_of_thread();
    if (warpgroup == 0) {
        ptx::release_registers<Tile::kProducerRegisters>();
        if (threadIdx.x == 0) {
            load_narrow_centroids<kSteps, kEpilogue>(arguments, shared);
        } else if (threadIdx.x == 32) {
            load_narrow_points<kSteps, kEpilogue>(arguments, shared);
        }
    } else {
        ptx::claim_registers<Tile::kConsumerRegisters>();
        consume_narrow<Element, kSteps, kEpilogue>(arguments, shared, warpgroup - 1);
    }
}

} // namespace faiss_flash::cuda::sm90
