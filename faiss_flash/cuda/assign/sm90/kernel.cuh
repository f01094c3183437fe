/// FlashAssign for Hopper (sm_90a): the best centroid of every point, without the distance matrix.
///
/// Budget, N points, K centroids, d columns of 2 bytes: 2 N K d FLOP on the tensor cores; device
/// memory reads N d 2 bytes once and writes N (4 + 4) or N (4 + 4 + 4); the centroids, K d 2 bytes,
/// come from L2 once for every 256 points: 16 bytes a clock and SM at d = 128.
///
/// score(i, k) = x_i . c_k + bias_k, bias_k = -|c_k|^2 / 2 (L2) or 0 (inner product); nearest =
/// max.
/// 1. A persistent grid takes 256 points at a time. One thread brings them, another streams the
///    centroids in tiles of 128, 64 columns a stage, by bulk tensor copies.
/// 2. Consumer warpgroups keep their points in registers (d <= 128) and hold 64 or 128 rows of
/// scores
///    each, which start as the biases.
/// 3. Two warpgroups take turns: while one's products run on the tensor cores, the other reduces
/// its
///    scores (saved_best.cuh, searched_best.cuh). Two named barriers pass the turn on. For d <= 64
///    there are four, and none waits for another.
/// 4. After the last tile best score, second best and id are written; nothing else ever is.
#pragma once

#include <faiss_flash/cuda/assign/sm90/arguments.h>
#include <faiss_flash/cuda/assign/tile_config.h>
#include <faiss_flash/cuda/assign/saved_best.cuh>
#include <faiss_flash/cuda/assign/searched_best.cuh>
#include <faiss_flash/cuda/ptx/mbarrier.cuh>
#include <faiss_flash/cuda/ptx/tma.cuh>
#include <faiss_flash/cuda/ptx/wgmma.cuh>

#include <cstdint>
#include <type_traits>

namespace faiss_flash::cuda::sm90 {

template <int kSteps>
struct Shared {
    using Tile = Sm90Tile<kSteps>;
    static constexpr int kSavedPairs = Tile::kSavedScores / 2; ///< a consumer thread's

    uint8_t points[Tile::kConsumers][Tile::kSlices][Tile::kPointSliceBytes];
    uint8_t centroids[Tile::kStages][Tile::kCentroidSliceBytes];
    float bias[Tile::kStages][Tile::kCentroids];
    float2 saved[Tile::kConsumers][kSavedPairs * 128 + 1];
    uint64_t points_full[Tile::kConsumers];
    uint64_t points_empty[Tile::kConsumers];
    uint64_t full[Tile::kStages];
    uint64_t empty[Tile::kStages];
};

/// Position in a ring of barriers, and the parity to wait for.
template <int kCount>
struct RingPosition {
    int stage = 0;
    uint32_t parity = 0;
    __device__ void advance() {
        if (++stage == kCount) {
            stage = 0;
            parity ^= 1;
        }
    }
};

/// One thread: the points of each piece of work.
template <int kSteps>
__device__ __forceinline__ void load_points(const Arguments& arguments, Shared<kSteps>& shared) {
    using Tile = Sm90Tile<kSteps>;
    ptx::prefetch_tensor_map(arguments.points);
    uint32_t parity = 0;
    for (int work = blockIdx.x; work < arguments.work; work += gridDim.x) {
        const int batch = work / arguments.point_tiles;
        const int row = (work - batch * arguments.point_tiles) * Tile::kPoints;
        for (int w = 0; w < Tile::kConsumers; w++) {
            uint64_t* barrier = &shared.points_full[w];
            ptx::mbarrier_wait(&shared.points_empty[w], parity ^ 1);
            ptx::mbarrier_arrive_expect(barrier, Tile::kSlices * Tile::kPointSliceBytes);
            for (int s = 0; s < Tile::kSlices; s++) {
                ptx::tma_load_3d(
                        shared.points[w][s],
                        arguments.points,
                        barrier,
                        s * Tile::kSliceColumns,
                        row + w * Tile::kWarpgroupPoints,
                        batch);
            }
        }
        parity ^= 1;
    }
}

/// One thread: all centroids for each piece of work.
template <int kSteps>
__device__ __forceinline__ void load_centroids(const Arguments& arguments, Shared<kSteps>& shared) {
    using Tile = Sm90Tile<kSteps>;
    ptx::prefetch_tensor_map(arguments.centroids);
    RingPosition<Tile::kStages> c;
    for (int work = blockIdx.x; work < arguments.work; work += gridDim.x) {
        const int batch = work / arguments.point_tiles;
        const float* bias = arguments.bias + int64_t{batch} * arguments.tiles * Tile::kCentroids;
        for (int tile = 0; tile < arguments.tiles; tile++) {
            for (int s = 0; s < Tile::kSlices; s++) {
                uint64_t* barrier = &shared.full[c.stage];
                ptx::mbarrier_wait(&shared.empty[c.stage], c.parity ^ 1);
                ptx::mbarrier_arrive_expect(
                        barrier, Tile::kCentroidSliceBytes + (s == 0 ? Tile::kBiasBytes : 0));
                if (s == 0) {
                    ptx::bulk_load(
                            shared.bias[c.stage],
                            bias + tile * Tile::kCentroids,
                            Tile::kBiasBytes,
                            barrier);
                }
                ptx::tma_load_3d(
                        shared.centroids[c.stage],
                        arguments.centroids,
                        barrier,
                        s * Tile::kSliceColumns,
                        tile * Tile::kCentroids,
                        batch);
                c.advance();
            }
        }
    }
}

/// Every row of the accumulators starts as the biases of the thread's columns.
template <int kRowBlocks>
__device__ __forceinline__ void start_scores(float (&acc)[kRowBlocks][64], const float* bias) {
    const int lane = static_cast<int>(threadIdx.x) % 4;
#pragma unroll
    for (int j = 0; j < 16; j++) {
        const float2 b = *reinterpret_cast<const float2*>(bias + 8 * j + 2 * lane);
#pragma unroll
        for (int block = 0; block < kRowBlocks; block++) {
            acc[block][4 * j] = acc[block][4 * j + 2] = b.x;
            acc[block][4 * j + 1] = acc[block][4 * j + 3] = b.y;
        }
    }
}

/// Keeps the compiler from moving accesses to the scores across this point.
template <int kRowBlocks>
__device__ __forceinline__ void pin(float (&acc)[kRowBlocks][64]) {
#pragma unroll
    for (int block = 0; block < kRowBlocks; block++) {
        ptx::pin_registers(acc[block]);
    }
}

/// This warp has read what the barrier guards.
__device__ __forceinline__ void release(uint64_t* barrier) {
    __syncwarp();
    if (threadIdx.x % 32 == 0) {
        ptx::mbarrier_arrive(barrier);
    }
}

template <int kRowBlocks, int kSteps, int kSlices, int kBytes>
__device__ __forceinline__ void load_points_to_registers(
        uint32_t (&points)[kRowBlocks][kSteps][4], const uint8_t (&tiles)[kSlices][kBytes]) {
#pragma unroll
    for (int block = 0; block < kRowBlocks; block++) {
#pragma unroll
        for (int step = 0; step < kSteps; step++) {
            ptx::load_operand(points[block][step], tiles[step / 4] + block * 64 * 128, step % 4);
        }
    }
}

template <class Element, int kSteps, bool kSecond>
__device__ __forceinline__ void consume(const Arguments& arguments, Shared<kSteps>& shared, int w) {
    using Tile = Sm90Tile<kSteps>;
    using Epilogue = std::conditional_t<
            (Tile::kSavedScores > 0),
            SavedBest<Tile::kRowBlocks, Tile::kCentroids, kSecond>,
            SearchedBest<Tile::kRowBlocks, Tile::kCentroids, kSecond>>;
    constexpr int kTurn = 1; // named barriers 1 and 2: the turn of warpgroup 0 and 1
    constexpr int kTurnThreads = 128 * Tile::kConsumers;
    const int thread = static_cast<int>(threadIdx.x) % 128;
    uint32_t parity = 0;
    RingPosition<Tile::kStages> c;
    Epilogue rows;
    if constexpr (Tile::kSavedScores > 0) {
        rows.saved = shared.saved[w] + thread;
    }
    float acc[Tile::kRowBlocks][64];
    uint32_t points[Tile::kRowBlocks][Tile::kPointsInRegisters ? kSteps : 1][4];
    if (Tile::kTakeTurns && w == 1) {
        ptx::named_barrier_arrive(kTurn, kTurnThreads);
    }
    for (int work = blockIdx.x; work < arguments.work; work += gridDim.x) {
        rows.reset();
        ptx::mbarrier_wait(&shared.points_full[w], parity);
        parity ^= 1;
        if constexpr (Tile::kPointsInRegisters) {
            load_points_to_registers(points, shared.points[w]);
        }
        for (int tile = 0; tile < arguments.tiles; tile++) {
            ptx::mbarrier_wait(&shared.full[c.stage], c.parity);
            start_scores(acc, shared.bias[c.stage]);
            if (Tile::kTakeTurns) {
                ptx::named_barrier_sync(kTurn + w, kTurnThreads);
            }
            pin(acc);
            int used = 0;
#pragma unroll
            for (int s = 0; s < Tile::kSlices; s++) {
                if (s > 0) {
                    ptx::mbarrier_wait(&shared.full[c.stage], c.parity);
                }
                ptx::wgmma_fence();
                const uint64_t a = ptx::swizzled_operand(shared.points[w][s]);
                const uint64_t b = ptx::swizzled_operand(shared.centroids[c.stage]);
#pragma unroll
                for (int step = 0; step < 4 && 4 * s + step < kSteps; step++) {
                    constexpr uint64_t kStep = Tile::kStepColumns * 2 >> 4;
                    constexpr uint64_t kBlock = 64 * 128 >> 4;
#pragma unroll
                    for (int block = 0; block < Tile::kRowBlocks; block++) {
                        if constexpr (Tile::kPointsInRegisters) {
                            ptx::wgmma_64x128x16<Element>(
                                    acc[block], points[block][4 * s + step], b + step * kStep);
                        } else {
                            ptx::wgmma_64x128x16<Element>(
                                    acc[block],
                                    a + block * kBlock + step * kStep,
                                    b + step * kStep);
                        }
                    }
                }
                ptx::wgmma_commit();
                if (s > 0) {
                    ptx::wgmma_wait<1>();
                    release(&shared.empty[used]);
                }
                used = c.stage;
                c.advance();
            }
            const bool last = tile + 1 == arguments.tiles;
            if (Tile::kTakeTurns && (w == 0 || !last || work + gridDim.x < arguments.work)) {
                ptx::named_barrier_arrive(kTurn + 1 - w, kTurnThreads);
            }
            ptx::wgmma_wait<0>();
            pin(acc);
            release(&shared.empty[used]);
            // Only products that have read the registers prove that the loads into them are over.
            if (Tile::kPointsInRegisters ? tile == 0 : last) {
                release(&shared.points_empty[w]);
            }
            rows.update(acc, tile * Tile::kCentroids);
        }
        rows.finish();
        const int batch = work / arguments.point_tiles;
        const int first = (work - batch * arguments.point_tiles) * Tile::kPoints +
                          w * Tile::kWarpgroupPoints + thread / 32 * 16 + thread % 32 / 4;
        if (thread % 4 == 0) {
#pragma unroll
            for (int r = 0; r < Epilogue::kRows; r++) {
                const int row = first + r / 2 * 64 + r % 2 * 8;
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

template <class Element, int kSteps, bool kSecond>
__global__ void __launch_bounds__(Sm90Tile<kSteps>::kThreads, 1)
        assign_kernel(const __grid_constant__ Arguments arguments) {
    using Tile = Sm90Tile<kSteps>;
    extern __shared__ uint8_t raw[];
    auto& shared = *reinterpret_cast<Shared<kSteps>*>(
            raw + (1024 - ptx::shared_address(raw) % 1024) % 1024);
    constexpr int kWarps = 4; // of a warpgroup
    if (threadIdx.x == 0) {
        for (int i = 0; i < Tile::kStages; i++) {
            ptx::mbarrier_init(&shared.full[i], 1);
            ptx::mbarrier_init(&shared.empty[i], Tile::kConsumers * kWarps);
        }
        for (int w = 0; w < Tile::kConsumers; w++) {
            ptx::mbarrier_init(&shared.points_full[w], 1);
            ptx::mbarrier_init(&shared.points_empty[w], kWarps);
        }
        ptx::mbarrier_init_fence();
    }
    __syncthreads();
    // The same in all lanes, and the compiler can see it: wgmma needs converged warps.
    const int warpgroup = __shfl_sync(~0u, static_cast<int>(threadIdx.x) / 128, 0);
    if (warpgroup == 0) {
        ptx::release_registers<Tile::kProducerRegisters>();
        if (threadIdx.x == 0) {
            load_centroids<kSteps>(arguments, shared);
        } else if (threadIdx.x == 32) {
            load_points<kSteps>(arguments, shared);
        }
    } else {
        ptx::claim_registers<Tile::kConsumerRegisters>();
        consume<Element, kSteps, kSecond>(arguments, shared, warpgroup - 1);
    }
}

} // namespace faiss_flash::cuda::sm90
