/// FlashAssign for Hopper (sm_90a), any d: points and centroids both stream through shared memory.
///
/// Budget as in resident.cuh for the tensor cores and device memory. A block of 128 points takes 16
/// KB of points and 32 KB of centroids from L2 for 1024 clocks of products: 48 bytes a clock and
/// SM. (A cluster of two blocks that fetch half of the centroids each for both needs 32, and is
/// slower by a quarter: its blocks wait for each other.)
///
/// 1. A persistent grid takes 128 points a block at a time, and goes over tiles of 256 centroids
/// and,
///    within, over slices of 64 columns: one stage of the ring, filled by one thread.
/// 2. Two consumer warpgroups hold 64 x 256 scores each, which start as the biases. The second
/// starts
///    each tile a slice after the first: one then reduces its scores (epilogue.h) while the
///    other multiplies.
/// 3. After the last tile what the epilogue has found is written.
#pragma once

#include <faiss_flash/cuda/assign/tile_config.h>
#include <faiss_flash/cuda/assign/saved_best.cuh>
#include <faiss_flash/cuda/assign/sm90/pipeline.cuh>
#include <faiss_flash/cuda/ptx/mbarrier.cuh>
#include <faiss_flash/cuda/ptx/tma.cuh>
#include <faiss_flash/cuda/ptx/wgmma.cuh>

#include <cstdint>
#include <type_traits>

namespace faiss_flash::cuda::sm90 {

struct StreamedShared {
    using Tile = StreamedTile;

    uint8_t points[Tile::kStages][Tile::kPointBytes];
    uint8_t centroids[Tile::kStages][Tile::kCentroidBytes];
    float bias[Tile::kStages][Tile::kCentroids];
    float2 saved[Tile::kConsumers][Tile::kSavedScores / 2 * 128];
    uint64_t full[Tile::kStages];
    uint64_t empty[Tile::kStages];
};

template <Epilogue kEpilogue>
__device__ __forceinline__ void load_stages(
        const Arguments& arguments, StreamedShared& shared, int slices) {
    using Tile = StreamedTile;
    ptx::prefetch_tensor_map(arguments.points);
    ptx::prefetch_tensor_map(arguments.centroids);
    RingPosition<Tile::kStages> c;
    for (int work = blockIdx.x; work < work_of<kEpilogue>(arguments, Tile::kPoints);
         work += gridDim.x) {
        const Piece piece(arguments, work, Tile::kPoints);
        const float* bias = arguments.bias + piece.batch * arguments.bias_batch;
        for (int tile = piece.first_tile; tile < piece.end_tile; tile++) {
            for (int s = 0; s < slices; s++) {
                uint64_t* barrier = &shared.full[c.stage];
                ptx::mbarrier_wait(&shared.empty[c.stage], c.parity ^ 1);
                ptx::mbarrier_arrive_expect(
                        barrier,
                        Tile::kPointBytes + Tile::kCentroidBytes + (s == 0 ? Tile::kBiasBytes : 0));
                if (s == 0) {
                    ptx::bulk_load(
                            shared.bias[c.stage],
                            bias + int64_t{tile} * Tile::kCentroids,
                            Tile::kBiasBytes,
                            barrier);
                }
                const int column = s * Tile::kSliceColumns;
                ptx::tma_load_3d(
                        shared.points[c.stage],
                        arguments.points,
                        barrier,
                        column,
                        piece.row,
                        piece.batch);
                ptx::tma_load_3d(
                        shared.centroids[c.stage],
                        arguments.centroids,
                        barrier,
                        column,
                        tile * Tile::kCentroids,
                        piece.batch);
                c.advance();
            }
        }
    }
}

template <class Element, Epilogue kEpilogue>
__device__ __forceinline__ void consume_stages(
        const Arguments& arguments, StreamedShared& shared, int slices, int w) {
    using Tile = StreamedTile;
    constexpr int kWidth = 2 * Tile::kSliceColumns;
    constexpr uint64_t kStep = Tile::kStepColumns * 2 >> 4;
    constexpr int kWarpgroupPoints = Tile::kPoints / Tile::kConsumers;
    constexpr bool kFilters = kEpilogue == Epilogue::candidates;
    constexpr bool kSecond = kEpilogue == Epilogue::second;
    using Best = SavedBest<1, Tile::kCentroids, kSecond, HighestScore>;
    std::conditional_t<kFilters, Listed<1, Tile::kCentroids>, Best> rows;
    if constexpr (!kFilters) {
        rows.saved.pairs = shared.saved[w] + threadIdx.x % 128;
    }
    RingPosition<Tile::kStages> c;
    // Named barriers, one for each stage: the first warpgroup is ahead in the tile that starts
    // there. It may be several tiles ahead, but no stage is filled again before both have read it.
    constexpr int kLead = 1;
    constexpr int kLeadThreads = 128 * Tile::kConsumers;
    float acc[1][Tile::kCentroids / 2];
    for (int work = blockIdx.x; work < work_of<kEpilogue>(arguments, Tile::kPoints);
         work += gridDim.x) {
        const Piece piece(arguments, work, Tile::kPoints);
        const int first_row = piece.row + w * kWarpgroupPoints;
        start_rows<kEpilogue>(arguments, piece, rows, first_row, Unchanged());
        for (int tile = piece.first_tile; tile < piece.end_tile; tile++) {
            int used = 0;
            ptx::mbarrier_wait(&shared.full[c.stage], c.parity);
            start_scores(acc, shared.bias[c.stage]);
            pin(acc);
            const int lead = kLead + c.stage;
            if (w == 1) {
                ptx::named_barrier_sync(lead, kLeadThreads);
            }
            for (int s = 0; s < slices; s++) {
                ptx::mbarrier_wait(&shared.full[c.stage], c.parity);
                ptx::wgmma_fence();
                const uint64_t a = ptx::swizzled_operand<kWidth>(
                        shared.points[c.stage] + w * kWarpgroupPoints * kWidth);
                const uint64_t b = ptx::swizzled_operand<kWidth>(shared.centroids[c.stage]);
#pragma unroll
                for (int step = 0; step < Tile::kSliceSteps; step++) {
                    ptx::wgmma<Element>(acc[0], a + step * kStep, b + step * kStep);
                }
                ptx::wgmma_commit();
                if (w == 0 && s == 0) {
                    ptx::named_barrier_arrive(lead, kLeadThreads);
                }
                if (s > 0) {
                    ptx::wgmma_wait<1>();
                    release(&shared.empty[used]);
                }
                used = c.stage;
                c.advance();
            }
            ptx::wgmma_wait<0>();
            pin(acc);
            release(&shared.empty[used]);
            rows.update(acc, tile * Tile::kCentroids);
        }
        finish_rows<kEpilogue>(arguments, piece, rows, first_row, Unchanged());
    }
}

template <class Element, Epilogue kEpilogue>
__global__ void __launch_bounds__(StreamedTile::kThreads, 1)
        assign_streamed(const __grid_constant__ Arguments arguments) {
    using Tile = StreamedTile;
    auto& shared = *reinterpret_cast<StreamedShared*>(aligned_shared());
    if (threadIdx.x == 0) {
        init_ring(shared.full, shared.empty, Tile::kConsumers);
        ptx::mbarrier_init_fence();
    }
    __syncthreads();
    const int slices = (arguments.d + Tile::kSliceColumns - 1) / Tile::kSliceColumns;
    const int warpgroup = warpgroup_of_thread();
    if (warpgroup == 0) {
        ptx::release_registers<Tile::kProducerRegisters>();
        if (threadIdx.x == 0) {
            load_stages<kEpilogue>(arguments, shared, slices);
        }
    } else {
        ptx::claim_registers<Tile::kConsumerRegisters>();
        consume_stages<Element, kEpilogue>(arguments, shared, slices, warpgroup - 1);
    }
}

} // namespace faiss_flash::cuda::sm90
