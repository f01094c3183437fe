/// FlashAssign for Hopper (sm_90a), 32 < d <= 256: the best centroid of every point, without the
/// distance matrix.
///
/// Budget, N points, K centroids, d columns of 2 bytes: 2 N K d FLOP on the tensor cores; device
/// memory reads N d 2 bytes once and writes N (4 + 4) or N (4 + 4 + 4); the centroids, K d 2 bytes,
/// come from L2 once for every 256 points: 16 bytes a clock and SM at d = 128.
///
/// score(i, k) = x_i . c_k + bias_k, bias_k = -|c_k|^2 / 2 (L2) or 0 (inner product).
/// 1. A persistent grid takes 256 points at a time. One thread brings them, another streams the
///    centroids in tiles of 128, 64 columns a stage, by bulk tensor copies.
/// 2. Consumer warpgroups keep their points in registers (d <= 128) and hold 64 or 128 rows of
///    scores each, which start as the biases.
/// 3. Two warpgroups take turns: while one's products run on the tensor cores, the other reduces
///    its scores (epilogue.h). Two named barriers pass the turn on. For d <= 64 there are four, and
///    none waits for another.
/// 4. After the last tile what the epilogue has found is written; nothing else ever is.
#pragma once

#include <faiss_flash/cuda/assign/tile_config.h>
#include <faiss_flash/cuda/assign/saved_best.cuh>
#include <faiss_flash/cuda/assign/searched_best.cuh>
#include <faiss_flash/cuda/assign/sm90/pipeline.cuh>
#include <faiss_flash/cuda/ptx/mbarrier.cuh>
#include <faiss_flash/cuda/ptx/tma.cuh>
#include <faiss_flash/cuda/ptx/wgmma.cuh>

#include <cstdint>
#include <type_traits>

namespace faiss_flash::cuda::sm90 {

template <int kSteps>
struct ResidentShared {
    using Tile = ResidentTile<kSteps>;
    static constexpr int kSavedPairs = Tile::kSavedScores / 2; ///< a consumer thread's

    uint8_t points[Tile::kConsumers][Tile::kPointStages][Tile::kSlices][Tile::kPointSliceBytes];
    uint8_t centroids[Tile::kStages][Tile::kCentroidSliceBytes];
    float bias[Tile::kStages][Tile::kCentroids];
    float2 saved[Tile::kConsumers][kSavedPairs * 128 + 1];
    uint64_t points_full[Tile::kConsumers][Tile::kPointStages];
    uint64_t points_empty[Tile::kConsumers][Tile::kPointStages];
    uint64_t full[Tile::kStages];
    uint64_t empty[Tile::kStages];
};

/// One thread: the points of each piece of work.
template <int kSteps, Epilogue kEpilogue>
__device__ __forceinline__ void load_points(
        const Arguments& arguments, ResidentShared<kSteps>& shared) {
    using Tile = ResidentTile<kSteps>;
    ptx::prefetch_tensor_map(arguments.points);
    RingPosition<Tile::kPointStages> p;
    for (int work = blockIdx.x; work < work_of<kEpilogue>(arguments, Tile::kPoints);
         work += gridDim.x) {
        const Piece piece(arguments, work, Tile::kPoints);
        for (int w = 0; w < Tile::kConsumers; w++) {
            uint64_t* barrier = &shared.points_full[w][p.stage];
            ptx::mbarrier_wait(&shared.points_empty[w][p.stage], p.parity ^ 1);
            ptx::mbarrier_arrive_expect(barrier, Tile::kSlices * Tile::kPointSliceBytes);
            for (int s = 0; s < Tile::kSlices; s++) {
                ptx::tma_load_3d(
                        shared.points[w][p.stage][s],
                        arguments.points,
                        barrier,
                        s * Tile::kSliceColumns,
                        piece.row + w * Tile::kWarpgroupPoints,
                        piece.batch);
            }
        }
        p.advance();
    }
}

/// One thread: all centroids for each piece of work.
template <int kSteps, Epilogue kEpilogue>
__device__ __forceinline__ void load_centroids(
        const Arguments& arguments, ResidentShared<kSteps>& shared) {
    using Tile = ResidentTile<kSteps>;
    ptx::prefetch_tensor_map(arguments.centroids);
    RingPosition<Tile::kStages> c;
    for (int work = blockIdx.x; work < work_of<kEpilogue>(arguments, Tile::kPoints);
         work += gridDim.x) {
        const Piece piece(arguments, work, Tile::kPoints);
        const float* bias = arguments.bias + piece.batch * arguments.bias_batch;
        for (int tile = piece.first_tile; tile < piece.end_tile; tile++) {
            for (int s = 0; s < Tile::kSlices; s++) {
                uint64_t* barrier = &shared.full[c.stage];
                ptx::mbarrier_wait(&shared.empty[c.stage], c.parity ^ 1);
                ptx::mbarrier_arrive_expect(
                        barrier, Tile::kCentroidSliceBytes + (s == 0 ? Tile::kBiasBytes : 0));
                if (s == 0) {
                    ptx::bulk_load(
                            shared.bias[c.stage],
                            bias + int64_t{tile} * Tile::kCentroids,
                            Tile::kBiasBytes,
                            barrier);
                }
                ptx::tma_load_3d(
                        shared.centroids[c.stage],
                        arguments.centroids,
                        barrier,
                        s * Tile::kSliceColumns,
                        tile * Tile::kCentroids,
                        piece.batch);
                c.advance();
            }
        }
    }
}

template <class Tile, int kRowBlocks, int kSteps, int kSlices, int kBytes>
__device__ __forceinline__ void load_points_to_registers(
        uint32_t (&points)[kRowBlocks][kSteps][4], const uint8_t (&tiles)[kSlices][kBytes]) {
    constexpr int kWidth = 2 * Tile::kSliceColumns;
#pragma unroll
    for (int block = 0; block < kRowBlocks; block++) {
#pragma unroll
        for (int step = 0; step < kSteps; step++) {
            ptx::load_operand<kWidth>(
                    points[block][step],
                    tiles[step / Tile::kSliceSteps] + block * 64 * kWidth,
                    step % Tile::kSliceSteps);
        }
    }
}

/// Products of the points with the centroids of one stage: slice kSlice, at most kSliceSteps steps
/// of 16 columns.
template <class Element, class Tile, int kSlice, int kSteps, int kRowBlocks, int kRegisterSteps>
__device__ __forceinline__ void multiply_slice(
        float (&acc)[kRowBlocks][64],
        const uint32_t (&points)[kRowBlocks][kRegisterSteps][4],
        const uint8_t* point_tile,
        const uint8_t* centroid_tile) {
    constexpr int kWidth = 2 * Tile::kSliceColumns;
    constexpr uint64_t kStep = Tile::kStepColumns * 2 >> 4;
    constexpr uint64_t kBlock = 64 * kWidth >> 4;
#pragma unroll
    for (int i = 0; i < Tile::kSliceSteps && kSlice * Tile::kSliceSteps + i < kSteps; i++) {
#pragma unroll
        for (int block = 0; block < kRowBlocks; block++) {
            const uint64_t b = ptx::swizzled_operand<kWidth>(centroid_tile) + i * kStep;
            if constexpr (Tile::kPointsInRegisters) {
                const auto& a = points[block][kSlice * Tile::kSliceSteps + i];
                ptx::wgmma<Element>(acc[block], a, b);
            } else {
                const uint64_t a = ptx::swizzled_operand<kWidth>(point_tile);
                ptx::wgmma<Element>(acc[block], a + block * kBlock + i * kStep, b);
            }
        }
    }
}

template <class Element, int kSteps, Epilogue kEpilogue>
__device__ __forceinline__ void consume(
        const Arguments& arguments, ResidentShared<kSteps>& shared, int w) {
    using Tile = ResidentTile<kSteps>;
    constexpr bool kFilters = kEpilogue == Epilogue::candidates;
    constexpr bool kSecond = kEpilogue == Epilogue::second;
    constexpr bool kSaves = !kFilters && Tile::kSavedScores > 0;
    using Best = std::conditional_t<
            kSaves,
            SavedBest<Tile::kRowBlocks, Tile::kCentroids, kSecond, HighestScore>,
            SearchedBest<Tile::kRowBlocks, Tile::kCentroids, kSecond>>;
    using Rows = std::conditional_t<kFilters, Listed<Tile::kRowBlocks, Tile::kCentroids>, Best>;
    constexpr int kTurn = 1; // named barriers 1 and 2: the turn of warpgroup 0 and 1
    constexpr int kTurnThreads = 128 * Tile::kConsumers;
    RingPosition<Tile::kPointStages> p;
    RingPosition<Tile::kStages> c;
    Rows rows;
    if constexpr (kSaves) {
        rows.saved.pairs = shared.saved[w] + threadIdx.x % 128;
    }
    float acc[Tile::kRowBlocks][64];
    uint32_t points[Tile::kRowBlocks][Tile::kPointsInRegisters ? kSteps : 1][4];
    if (Tile::kTakeTurns && w == 1) {
        ptx::named_barrier_arrive(kTurn, kTurnThreads);
    }
    for (int work = blockIdx.x; work < work_of<kEpilogue>(arguments, Tile::kPoints);
         work += gridDim.x) {
        const Piece piece(arguments, work, Tile::kPoints);
        const int first_row = piece.row + w * Tile::kWarpgroupPoints;
        start_rows<kEpilogue>(arguments, piece, rows, first_row, Unchanged());
        const auto& point_tiles = shared.points[w][p.stage];
        ptx::mbarrier_wait(&shared.points_full[w][p.stage], p.parity);
        if constexpr (Tile::kPointsInRegisters) {
            load_points_to_registers<Tile>(points, point_tiles);
        }
        for (int tile = piece.first_tile; tile < piece.end_tile; tile++) {
            ptx::mbarrier_wait(&shared.full[c.stage], c.parity);
            start_scores(acc, shared.bias[c.stage]);
            if (Tile::kTakeTurns) {
                ptx::named_barrier_sync(kTurn + w, kTurnThreads);
            }
            pin(acc);
            int used = 0;
            static_for<Tile::kSlices>([&](auto slice) {
                constexpr int kSlice = decltype(slice)::value;
                if (kSlice > 0) {
                    ptx::mbarrier_wait(&shared.full[c.stage], c.parity);
                }
                ptx::wgmma_fence();
                multiply_slice<Element, Tile, kSlice, kSteps>(
                        acc, points, point_tiles[kSlice], shared.centroids[c.stage]);
                ptx::wgmma_commit();
                if (kSlice > 0) {
                    ptx::wgmma_wait<1>();
                    release(&shared.empty[used]);
                }
                used = c.stage;
                c.advance();
            });
            const bool last = tile + 1 == piece.end_tile;
            if (Tile::kTakeTurns &&
                (w == 0 || !last ||
                 work + gridDim.x < work_of<kEpilogue>(arguments, Tile::kPoints))) {
                ptx::named_barrier_arrive(kTurn + 1 - w, kTurnThreads);
            }
            ptx::wgmma_wait<0>();
            pin(acc);
            release(&shared.empty[used]);
            // Only products that have read the registers prove that the loads into them are over.
            if (Tile::kPointsInRegisters ? tile == piece.first_tile : last) {
                release(&shared.points_empty[w][p.stage]);
            }
            rows.update(acc, tile * Tile::kCentroids);
        }
        p.advance();
        finish_rows<kEpilogue>(arguments, piece, rows, first_row, Unchanged());
    }
}

template <class Element, int kSteps, Epilogue kEpilogue>
__global__ void __launch_bounds__(ResidentTile<kSteps>::kThreads, 1)
        assign_resident(const __grid_constant__ Arguments arguments) {
    using Tile = ResidentTile<kSteps>;
    auto& shared = *reinterpret_cast<ResidentShared<kSteps>*>(aligned_shared());
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
            load_centroids<kSteps, kEpilogue>(arguments, shared);
        } else if (threadIdx.x == 32) {
            load_points<kSteps, kEpilogue>(arguments, shared);
        }
    } else {
        ptx::claim_registers<Tile::kConsumerRegisters>();
        consume<Element, kSteps, kEpilogue>(arguments, shared, warpgroup - 1);
    }
}

} // namespace faiss_flash::cuda::sm90
