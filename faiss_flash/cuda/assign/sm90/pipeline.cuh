/// What the Hopper kernels share: pieces of work, rings of barriers, the scores' start and end.
#pragma once

#include <faiss_flash/cuda/assign/epilogue.h>
#include <faiss_flash/cuda/assign/sm90/arguments.h>
#include <faiss_flash/cuda/assign/listed_candidates.cuh>
#include <faiss_flash/cuda/ptx/mbarrier.cuh>
#include <faiss_flash/cuda/ptx/wgmma.cuh>

#include <cstdint>

namespace faiss_flash::cuda::sm90 {

/// Some points of one problem against a range of centroid tiles.
struct Piece {
    int batch, split;
    int row; ///< first point
    int first_tile, end_tile;

    __device__ Piece(const Arguments& arguments, int work, int points) {
        const int at = work / arguments.splits;
        split = work - at * arguments.splits;
        batch = at / arguments.point_tiles;
        row = (at - batch * arguments.point_tiles) * points;
        first_tile = split * arguments.tiles_per_split;
        end_tile = min(first_tile + arguments.tiles_per_split, arguments.tiles);
    }

    /// Place of row 0's results.
    __device__ int64_t output(const Arguments& arguments) const {
        return (int64_t{split} * arguments.batch + batch) * arguments.n;
    }
};

/// Pieces of work there are: tiles of `points` points come one after the other. Asked for again at
/// every piece: it does not take a register meanwhile.
template <Epilogue kEpilogue>
__device__ __forceinline__ int work_of(const Arguments& arguments, int points) {
    if (kEpilogue != Epilogue::candidates) {
        return arguments.work;
    }
    return (*arguments.row_count + points - 1) / points * arguments.splits;
}

/// A ring's barriers: filled by one thread, emptied by every thread of `warpgroups`. One thread
/// does it, before ptx::mbarrier_init_fence().
template <int kStages>
__device__ __forceinline__ void init_ring(
        uint64_t (&full)[kStages], uint64_t (&empty)[kStages], int warpgroups) {
    for (int i = 0; i < kStages; i++) {
        ptx::mbarrier_init(&full[i], 1);
        ptx::mbarrier_init(&empty[i], warpgroups * 128);
    }
}

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

/// Every row of the accumulators starts as the biases of the thread's columns.
template <int kRowBlocks, int kScores>
__device__ __forceinline__ void start_scores(float (&acc)[kRowBlocks][kScores], const float* bias) {
    const int lane = static_cast<int>(threadIdx.x) % 4;
#pragma unroll
    for (int j = 0; j < kScores / 4; j++) {
        const float2 b = *reinterpret_cast<const float2*>(bias + 8 * j + 2 * lane);
#pragma unroll
        for (int block = 0; block < kRowBlocks; block++) {
            acc[block][4 * j] = acc[block][4 * j + 2] = b.x;
            acc[block][4 * j + 1] = acc[block][4 * j + 3] = b.y;
        }
    }
}

/// Keeps the compiler from moving accesses to the scores across this point.
template <int kRowBlocks, int kScores>
__device__ __forceinline__ void pin(float (&acc)[kRowBlocks][kScores]) {
#pragma unroll
    for (int block = 0; block < kRowBlocks; block++) {
        ptx::pin_registers(acc[block]);
    }
}

/// This thread has read what the barrier guards. One arrival a warp would do, and is no faster; but
/// compute-sanitizer could not see that the other lanes have read.
__device__ __forceinline__ void release(uint64_t* barrier) {
    ptx::mbarrier_arrive(barrier);
}

/// The first row of a thread, in the warpgroup whose first row is `first`.
__device__ __forceinline__ int row_of_thread(int first) {
    const int thread = static_cast<int>(threadIdx.x) % 128;
    return first + thread / 32 * 16 + thread % 32 / 4;
}

/// One quad has all columns of a row.
template <int kRowBlocks, int kColumns, class Order = HighestScore>
using Listed = ListedCandidates<kRowBlocks, kColumns, 64, 1, Order>;

/// Best, second best and id of the thread's rows. score(r, value): from the epilogue's order.
template <bool kSecond, class Rows, class Score>
__device__ __forceinline__ void write_rows(
        const Arguments& arguments,
        int64_t output,
        const Rows& rows,
        int first,
        const Score& score) {
#pragma unroll
    for (int r = 0; r < Rows::kRows; r++) {
        const int row = row_of_thread(first) + r / 2 * 64 + r % 2 * 8;
        if (row < arguments.n) {
            arguments.best[output + row] = score(r, rows.best[r]);
            arguments.ids[output + row] = rows.id[r];
            if (kSecond) {
                arguments.second[output + row] = score(r, rows.second[r]);
            }
        }
    }
}

/// Before the first tile of the rows of a warpgroup whose first is `first`. bar_of(r, bar): in the
/// epilogue's order.
template <Epilogue kEpilogue, class Rows, class BarOf>
__device__ __forceinline__ void start_rows(
        const Arguments& arguments,
        const Piece& piece,
        Rows& rows,
        int first,
        const BarOf& bar_of) {
    if constexpr (kEpilogue == Epilogue::candidates) {
        const int64_t row = piece.output(arguments) + row_of_thread(first);
        rows.start(arguments.lists, row, 0, bar_of);
    } else {
        rows.reset();
    }
}

/// After the last. score(r, value): from the epilogue's order.
template <Epilogue kEpilogue, class Rows, class Score>
__device__ __forceinline__ void finish_rows(
        const Arguments& arguments, const Piece& piece, Rows& rows, int first, const Score& score) {
    const int64_t output = piece.output(arguments);
    if constexpr (kEpilogue == Epilogue::candidates) {
        const int64_t row = output + row_of_thread(first);
        rows.finish(arguments.lists, row, 0);
    } else {
        rows.finish();
        if (threadIdx.x % 4 == 0) {
            write_rows<kEpilogue == Epilogue::second>(arguments, output, rows, first, score);
        }
    }
}

/// The same in all lanes, and the compiler can see it: wgmma needs converged warps.
__device__ __forceinline__ int warpgroup_of_thread() {
    return __shfl_sync(~0u, static_cast<int>(threadIdx.x) / 128, 0);
}

/// Of bars and scores, where the epilogue's order is theirs.
struct Unchanged {
    __device__ float operator()(int /*r*/, float score) const { return score; }
};

/// Dynamic shared memory from its first 1024-byte boundary, as swizzled operands need it. The same
/// offset in every block of a cluster.
__device__ __forceinline__ uint8_t* aligned_shared() {
    extern __shared__ uint8_t raw[];
    return raw + (1024 - ptx::shared_address(raw) % 1024) % 1024;
}

} // namespace faiss_flash::cuda::sm90
