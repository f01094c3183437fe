/// What the filter pass does to a tile of scores: lists every centroid whose score reaches the
/// row's bar.
///
/// A thread holds a quarter of the columns of each of its rows; the four of a quad share a list for
/// each row, and know how long it is without asking memory: nothing waits. The usual path costs one
/// FMNMX a score (half as many of distances), and a comparison and a vote a row; few rows have a
/// candidate in a tile, in one group of 8 columns as a rule, and the whole group makes one entry.
#pragma once

#include <faiss_flash/cuda/assign/candidate_lists.h>
#include <faiss_flash/cuda/assign/saved_best.cuh>

#include <cstdint>

namespace faiss_flash::cuda {

/// kRowBlocks: products of kBlockRows points whose rows the thread has two of each; kColumns: of
/// the tile, all quads'; kLists: of a row, one for every quad that has columns of it.
template <int kRowBlocks, int kColumns, int kBlockRows, int kLists, class Order>
struct ListedCandidates {
    using Value = typename Order::Value;
    static constexpr int kRows = 2 * kRowBlocks; ///< of a thread
    static constexpr int kScores = kColumns / 2; ///< of a thread in a row block, two rows of them
    static constexpr int kGroup = 8;             ///< columns of a thread in a group
    static constexpr int kGroups = kColumns / 4 / kGroup;

    Value bar[kRows];
    int32_t count[kRows]; ///< of entries, also those that the list has no room for
    uint32_t* entries;    ///< the quad's list for the thread's first row

    /// row: the thread's first, a place in the arrays; list: of the row's. bar_of(r, bar): in the
    /// epilogue's order.
    template <class BarOf>
    __device__ __forceinline__ void start(
            const CandidateLists& lists, int64_t row, int list, const BarOf& bar_of) {
#pragma unroll
        for (int r = 0; r < kRows; r++) {
            bar[r] = bar_of(r, lists.bars[row % lists.rows + rows_to(r)]);
            count[r] = 0;
        }
        entries = lists.entries + (row * kLists + list) * kListEntries;
    }

    /// acc: the thread's scores, as mma leaves them; first: id of the tile's first column.
    __device__ __forceinline__ void update(const float (&acc)[kRowBlocks][kScores], int32_t first) {
#pragma unroll
        for (int r = 0; r < kRows; r++) {
            Value highest[kGroups];
            Value top = Order::kWorst;
#pragma unroll
            for (int g = 0; g < kGroups; g++) {
                Value v[kGroup];
#pragma unroll
                for (int i = 0; i < kGroup; i++) {
                    v[i] = value(acc[r / 2], r % 2, kGroup * g + i);
                }
                highest[g] = Order::best(v, Order::kWorst);
                top = Order::best(top, highest[g]);
            }
            if (__any_sync(~0u, reaches(top, r))) { // all lanes take one way
#pragma unroll
                for (int g = 0; g < kGroups; g++) {
                    if (__any_sync(~0u, reaches(highest[g], r))) {
                        append(acc[r / 2], r, g, first);
                    }
                }
            }
        }
    }

    __device__ __forceinline__ void finish(const CandidateLists& lists, int64_t row, int list) {
#pragma unroll
        for (int r = 0; r < kRows && threadIdx.x % 4 == 0; r++) {
            lists.counts[(row + rows_to(r)) * kLists + list] =
                    static_cast<uint8_t>(min(count[r], kListEntries + 1));
        }
    }

   private:
    /// Rows from the thread's first to its row r.
    __device__ __forceinline__ static constexpr int rows_to(int r) {
        return r / 2 * kBlockRows + r % 2 * 8;
    }

    /// Value v of the thread's in a row.
    __device__ __forceinline__ static Value value(const float (&acc)[kScores], int half, int v) {
        return Order::of(acc[4 * (v / 2) + 2 * half + v % 2]);
    }

    /// Written so that a NaN anywhere makes a candidate.
    __device__ __forceinline__ bool reaches(Value score, int r) const {
        return !Order::better(bar[r], score);
    }

    __device__ __forceinline__ void append(
            const float (&acc)[kScores], int r, int g, int32_t first) {
        uint32_t columns = 0;
#pragma unroll
        for (int i = 0; i < kGroup; i++) {
            columns |= reaches(value(acc, r % 2, kGroup * g + i), r) ? 1u << i : 0;
        }
        const int lane = static_cast<int>(threadIdx.x) % 4;
        const unsigned quad = __ballot_sync(~0u, columns != 0) >> (threadIdx.x % 32 - lane) & 0xF;
        const int place = count[r] + __popc(quad & ((1u << lane) - 1));
        if (columns != 0 && place < kListEntries) {
            entries[rows_to(r) * kLists * kListEntries + place] =
                    list_entry(first + 4 * kGroup * g, lane, columns);
        }
        count[r] += __popc(quad);
    }
};

} // namespace faiss_flash::cuda
