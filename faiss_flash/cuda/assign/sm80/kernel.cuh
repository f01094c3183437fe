/// FlashAssign for every card from sm_80 on, any number of columns, any alignment.
///
/// Budget as in sm90/resident.cuh, but points and centroids stream together, 32 columns at a time:
/// a block of 128 points reads its points once for every 128 centroids, from L2 or L1 where they
/// fit.
///
/// 1. A block takes 128 points. For each tile of 128 centroids it goes over the columns in slices
/// of
///    32, copied asynchronously into a ring of three stages; rows that are not 16-byte aligned are
///    copied element by element.
/// 2. Eight warps, 4 x 2, hold 32 x 64 scores each in registers, which start as the biases, and add
///    the products by mma.sync.
/// 3. After a tile's last slice each warp updates the running best of its rows (searched_best.cuh).
/// 4. After the last tile the two halves of the columns are merged and written.
#pragma once

#include <faiss_flash/cuda/assign/tile_config.h>
#include <faiss_flash/cuda/assign/listed_candidates.cuh>
#include <faiss_flash/cuda/assign/searched_best.cuh>
#include <faiss_flash/cuda/ptx/mma.cuh>

#include <cstdint>
#include <type_traits>

namespace faiss_flash::cuda::sm80 {

struct Arguments {
    const uint8_t* points;
    int64_t point_row_bytes, point_batch_bytes;
    const uint8_t* centroids; ///< rows of row_elements, zero padded
    int64_t centroid_row_bytes, centroid_batch_bytes;
    const float* bias;  ///< [batch x bias_batch], -inf from k on
    int64_t bias_batch; ///< at least tiles * 128
    float* best;        ///< [splits x batch x n]
    float* second;      ///< [splits x batch x n]; null = not wanted
    int32_t* ids;       ///< [splits x batch x n]
    int32_t n, k, d;
    int32_t tiles;            ///< centroid tiles
    int32_t tiles_per_split;  ///< that a block goes over
    bool aligned;             ///< point rows and d are multiples of 16 bytes
    const int32_t* row_count; ///< points in use; null = n
    CandidateLists lists;     ///< of a filter pass, instead of best, second and ids
};

constexpr int kTile = GenericTile::kPoints;
static_assert(kTile == GenericTile::kCentroids, "load_slice() takes either");
constexpr int kSlice = GenericTile::kSliceColumns;
constexpr int kPitch = kSlice + 8; // in elements: rows 80 bytes apart, ldmatrix without conflicts
constexpr int kStages = GenericTile::kStages;
constexpr int kThreads = GenericTile::kThreads;

struct Shared {
    uint16_t points[kStages][kTile][kPitch];
    uint16_t centroids[kStages][kTile][kPitch];
    float best[kTile], second[kTile];
    int32_t id[kTile];
};

/// Columns [column, column + 32) of 128 rows from `first`; zeros outside [rows x d].
__device__ inline void load_slice(
        uint16_t (&tile)[kTile][kPitch],
        const uint8_t* data,
        int64_t row_bytes,
        int first,
        int rows,
        int column,
        int d,
        bool aligned) {
    constexpr int kChunk = 8; // elements in 16 bytes
#pragma unroll
    for (int i = 0; i < kTile * kSlice / kChunk / kThreads; i++) {
        const int at = static_cast<int>(threadIdx.x) + i * kThreads;
        const int row = at / (kSlice / kChunk);
        const int chunk = at % (kSlice / kChunk) * kChunk;
        uint16_t* destination = &tile[row][chunk];
        const int count = first + row < rows ? min(max(d - column - chunk, 0), kChunk) : 0;
        const uint8_t* source =
                data + (count ? (first + row) * row_bytes + int64_t{column + chunk} * 2 : 0);
        if (aligned) {
            ptx::copy_16(destination, source, 2 * count);
        } else {
            for (int j = 0; j < kChunk; j++) {
                destination[j] = j < count ? reinterpret_cast<const uint16_t*>(source)[j] : 0;
            }
        }
    }
}

template <class Element>
__device__ inline void multiply(
        float (&acc)[2][32],
        const uint16_t (&points)[kTile][kPitch],
        const uint16_t (&centroids)[kTile][kPitch],
        int first_row,
        int first_column) {
    const int lane = static_cast<int>(threadIdx.x) % 32;
#pragma unroll
    for (int step = 0; step < kSlice; step += 16) {
        uint32_t a[2][4];
#pragma unroll
        for (int block = 0; block < 2; block++) {
            const int row = first_row + 16 * block + lane % 16;
            ptx::load_matrices(a[block], &points[row][step + lane / 16 * 8]);
        }
#pragma unroll
        for (int j = 0; j < 8; j += 2) {
            // Matrices 0, 1: 8 centroids, columns 0-7 and 8-15; 2, 3: the next 8.
            uint32_t b[4];
            const int row = first_column + 8 * j + lane / 16 * 8 + lane % 8;
            ptx::load_matrices(b, &centroids[row][step + lane / 8 % 2 * 8]);
#pragma unroll
            for (int block = 0; block < 2; block++) {
                ptx::mma_16x8x16<Element>(&acc[block][4 * j], a[block], b[0], b[1]);
                ptx::mma_16x8x16<Element>(&acc[block][4 * j + 4], a[block], b[2], b[3]);
            }
        }
    }
}

/// bias: of the thread's first column.
__device__ inline void start_scores(float (&acc)[2][32], const float* bias) {
#pragma unroll
    for (int j = 0; j < 8; j++) {
        const float2 b = *reinterpret_cast<const float2*>(bias + 8 * j);
#pragma unroll
        for (int block = 0; block < 2; block++) {
            acc[block][4 * j] = acc[block][4 * j + 2] = b.x;
            acc[block][4 * j + 1] = acc[block][4 * j + 3] = b.y;
        }
    }
}

/// The right half of the columns hands over to the left, which writes. output: of the warp's first
/// row.
template <class Rows>
__device__ inline void write_best(
        const Arguments& arguments,
        Shared& shared,
        const Rows& rows,
        int64_t output,
        int first_row) {
    const int warp = static_cast<int>(threadIdx.x) / 32;
    const int lane = static_cast<int>(threadIdx.x) % 32;
    const int first_point = static_cast<int>(blockIdx.x) * kTile;
    const auto row_of = [&](int r) { return first_row + r / 2 * 16 + r % 2 * 8 + lane / 4; };
    if (warp % 2 == 1 && lane % 4 == 0) {
#pragma unroll
        for (int r = 0; r < 4; r++) {
            shared.best[row_of(r)] = rows.best[r];
            shared.second[row_of(r)] = rows.second[r];
            shared.id[row_of(r)] = rows.id[r];
        }
    }
    __syncthreads();
    if (warp % 2 == 0 && lane % 4 == 0) {
#pragma unroll
        for (int r = 0; r < 4; r++) {
            const int row = row_of(r);
            const int64_t at = output + row - first_row;
            if (first_point + row < arguments.n) {
                const float other = shared.best[row];
                // Equal scores: the lower id, which may be in the right half of an earlier tile.
                const bool mine = rows.best[r] > other ||
                                  (rows.best[r] == other && rows.id[r] < shared.id[row]);
                arguments.best[at] = mine ? rows.best[r] : other;
                arguments.ids[at] = mine ? rows.id[r] : shared.id[row];
                if (arguments.second) {
                    arguments.second[at] = fmaxf(
                            fmaxf(rows.second[r], shared.second[row]), fminf(rows.best[r], other));
                }
            }
        }
    }
}

template <class Element, bool kCandidates>
__global__ void __launch_bounds__(kThreads, GenericTile::kBlocks)
        assign_kernel(const Arguments arguments) {
    extern __shared__ __align__(16) uint8_t raw[];
    Shared& shared = *reinterpret_cast<Shared*>(raw);
    const int warp = static_cast<int>(threadIdx.x) / 32;
    const int lane = static_cast<int>(threadIdx.x) % 32;
    const int first_row = warp / 2 * 32; // of the warp, in the tile
    const int first_column = warp % 2 * 64;
    const int batch = blockIdx.y;
    const int first_point = static_cast<int>(blockIdx.x) * kTile;
    if (arguments.row_count && first_point >= *arguments.row_count) {
        return;
    }
    const int first_tile = static_cast<int>(blockIdx.z) * arguments.tiles_per_split;
    const int end_tile = min(first_tile + arguments.tiles_per_split, arguments.tiles);

    int load_tile = first_tile;
    int load_column = 0;
    const auto load_next = [&](int stage) {
        if (load_tile < end_tile) {
            load_slice(
                    shared.points[stage],
                    arguments.points + batch * arguments.point_batch_bytes,
                    arguments.point_row_bytes,
                    first_point,
                    arguments.n,
                    load_column,
                    arguments.d,
                    arguments.aligned);
            load_slice(
                    shared.centroids[stage],
                    arguments.centroids + batch * arguments.centroid_batch_bytes,
                    arguments.centroid_row_bytes,
                    load_tile * kTile,
                    arguments.k,
                    load_column,
                    arguments.d,
                    true);
            load_column += kSlice;
            if (load_column >= arguments.d) {
                load_column = 0;
                load_tile++;
            }
        }
        ptx::copy_commit();
    };

    constexpr int kLists = 2; // of a row: its scores are in two warps
    const int64_t output =
            (int64_t{blockIdx.z} * gridDim.y + batch) * arguments.n + first_point + first_row;
    std::conditional_t<
            kCandidates,
            ListedCandidates<2, 64, 16, kLists, HighestScore>,
            SearchedBest<2, 64, true>>
            rows;
    if constexpr (kCandidates) {
        rows.start(arguments.lists, output + lane / 4, warp % 2, [](int /*r*/, float bar) {
            return bar;
        });
    } else {
        rows.reset();
    }
    float acc[2][32];
    for (int i = 0; i < kStages - 1; i++) {
        load_next(i);
    }
    int stage = 0;
    for (int tile = first_tile; tile < end_tile; tile++) {
        const float* bias = arguments.bias + batch * arguments.bias_batch;
        start_scores(acc, bias + tile * kTile + first_column + 2 * (lane % 4));
        for (int column = 0; column < arguments.d; column += kSlice) {
            ptx::copy_wait<kStages - 2>();
            __syncthreads();
            load_next(stage == 0 ? kStages - 1 : stage - 1); // the one just used up
            multiply<Element>(
                    acc, shared.points[stage], shared.centroids[stage], first_row, first_column);
            stage = stage + 1 == kStages ? 0 : stage + 1;
        }
        rows.update(acc, tile * kTile + first_column);
    }
    if constexpr (kCandidates) {
        rows.finish(arguments.lists, output + lane / 4, warp % 2);
    } else {
        rows.finish();
        write_best(arguments, shared, rows, output, first_row);
    }
}

} // namespace faiss_flash::cuda::sm80
