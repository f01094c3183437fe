/// What happens to a tile of scores: the running best of every row, its id and the second best.
///
/// A thread holds a quarter of the columns of each of its rows; the four threads of a quad share a
/// row and agree on its best. The usual path costs one FMNMX a score and one vote a tile: a tile in
/// which no thread sees more than its row's best changes nothing but the second best. Otherwise the
/// columns are searched, but only in those groups of 8 that hold a new best in some lane of the
/// warp. The chance of that falls with the tiles seen, so the search costs little when K is large.
#pragma once

#include <cstdint>

namespace faiss_flash::cuda {

/// kRowBlocks: products whose rows the thread has two of each; kColumns: of the tile, all quads'.
template <int kRowBlocks, int kColumns, bool kSecond>
struct SearchedBest {
    static constexpr int kRows = 2 * kRowBlocks; ///< of a thread
    static constexpr int kScores = kColumns / 2; ///< of a thread in a row block, two rows of them
    static constexpr int kGroup = 8;             ///< columns of a thread in a group
    static constexpr int kGroups = kColumns / 4 / kGroup;
    static constexpr int32_t kNone = 0x7FFFFFFF;

    float best[kRows];   ///< the same in the threads of a quad
    float second[kRows]; ///< of the thread's own columns and the bests that were overtaken
    int32_t id[kRows];   ///< kNone in the threads that do not hold the best's column

    __device__ __forceinline__ void reset() {
#pragma unroll
        for (int r = 0; r < kRows; r++) {
            best[r] = second[r] = -INFINITY;
            id[r] = kNone;
        }
    }

    /// acc: the thread's scores, as mma leaves them; first: id of the tile's first column.
    __device__ __forceinline__ void update(const float (&acc)[kRowBlocks][kScores], int32_t first) {
        float groups[kRows][kGroups];
        float highest[kRows];
        bool improves = false;
#pragma unroll
        for (int r = 0; r < kRows; r++) {
            group_maxima(acc[r / 2], r % 2, groups[r]);
            highest[r] = groups[r][0];
#pragma unroll
            for (int g = 1; g < kGroups; g++) {
                highest[r] = fmaxf(highest[r], groups[r][g]);
            }
            improves = improves || highest[r] > best[r];
        }
        if (__any_sync(~0u, improves)) {
            search(acc, groups, highest, first);
        } else if (kSecond) {
#pragma unroll
            for (int r = 0; r < kRows; r++) {
                second[r] = fmaxf(second[r], highest[r]);
            }
        }
    }

    /// Brings the quad's threads together; call once, after the last tile.
    __device__ __forceinline__ void finish() {
#pragma unroll
        for (int r = 0; r < kRows; r++) {
            id[r] = quad_min(id[r]);
            second[r] = quad_max(second[r]);
        }
    }

   private:
    /// Value v of the thread's 32 in a row.
    __device__ __forceinline__ static float value(const float (&acc)[kScores], int half, int v) {
        return acc[4 * (v / 2) + 2 * half + v % 2];
    }
    /// Its column in the tile, from the column of the quad's thread 0.
    __device__ __forceinline__ static constexpr int column_of(int v) {
        return 8 * (v / 2) + v % 2;
    }

    __device__ __forceinline__ static float quad_max(float x) {
        x = fmaxf(x, __shfl_xor_sync(~0u, x, 1));
        return fmaxf(x, __shfl_xor_sync(~0u, x, 2));
    }
    __device__ __forceinline__ static int32_t quad_min(int32_t x) {
        x = min(x, __shfl_xor_sync(~0u, x, 1));
        return min(x, __shfl_xor_sync(~0u, x, 2));
    }

    __device__ __forceinline__ static void group_maxima(
            const float (&acc)[kScores], int half, float (&groups)[kGroups]) {
#pragma unroll
        for (int g = 0; g < kGroups; g++) {
            float m[kGroup / 2];
#pragma unroll
            for (int i = 0; i < kGroup / 2; i++) {
                const int v = kGroup * g + i;
                m[i] = fmaxf(value(acc, half, v), value(acc, half, v + kGroup / 2));
            }
            groups[g] = fmaxf(fmaxf(m[0], m[1]), fmaxf(m[2], m[3]));
        }
    }

    __device__ __forceinline__ void search(
            const float (&acc)[kRowBlocks][kScores],
            const float (&groups)[kRows][kGroups],
            const float (&mine)[kRows],
            int32_t first) {
        const int32_t lane_first = first + 2 * (static_cast<int>(threadIdx.x) % 4);
        float highest[kRows];
        uint32_t wanted = 0; // bit r * kGroups + g: group g of row r holds a new best
#pragma unroll
        for (int r = 0; r < kRows; r++) {
            highest[r] = quad_max(mine[r]);
        }
#pragma unroll
        for (int r = 0; r < kRows; r++) {
#pragma unroll
            for (int g = 0; g < kGroups; g++) {
                if (highest[r] > best[r] && groups[r][g] == highest[r]) {
                    wanted |= 1u << (r * kGroups + g);
                }
            }
        }
        const uint32_t touched = __reduce_or_sync(~0u, wanted);
#pragma unroll
        for (int r = 0; r < kRows; r++) {
            int32_t column = kNone;
#pragma unroll
            for (int g = kGroups - 1; g >= 0; g--) {
                if (touched >> (r * kGroups + g) & 1) {
#pragma unroll
                    for (int v = kGroup * g + kGroup - 1; v >= kGroup * g; v--) {
                        if (value(acc[r / 2], r % 2, v) == highest[r]) {
                            column = column_of(v);
                        }
                    }
                }
            }
            const bool improves = highest[r] > best[r];
            column = improves ? column : kNone;
            if (kSecond) {
                second[r] = fmaxf(
                        second[r],
                        others(acc[r / 2], r % 2, groups[r], touched >> (r * kGroups), column));
                second[r] = improves ? fmaxf(second[r], best[r]) : second[r];
            }
            if (improves) {
                best[r] = highest[r];
                id[r] = column == kNone ? kNone : lane_first + column;
            }
        }
    }

    /// The thread's highest score but for the one at the row's new best (none: column == kNone).
    __device__ __forceinline__ static float others(
            const float (&acc)[kScores],
            int half,
            const float (&groups)[kGroups],
            uint32_t touched,
            int32_t column) {
        float rest = -INFINITY;
        const int32_t lane = 2 * (static_cast<int>(threadIdx.x) % 4);
        const int32_t own = column == kNone ? kNone : column + lane;
        const int32_t excluded = quad_min(own) - lane; // the lowest of equal ones
#pragma unroll
        for (int g = 0; g < kGroups; g++) {
            if (touched >> g & 1) {
#pragma unroll
                for (int v = kGroup * g; v < kGroup * g + kGroup; v++) {
                    rest = fmaxf(rest, column_of(v) == excluded ? -INFINITY : value(acc, half, v));
                }
            } else {
                rest = fmaxf(rest, groups[g]);
            }
        }
        return rest;
    }
};

} // namespace faiss_flash::cuda
