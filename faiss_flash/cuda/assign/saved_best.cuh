/// What happens to a tile of scores: the running best of every row, its id and the second best.
///
/// A thread holds a quarter of the columns of each of its rows. It takes the maximum of groups of 8
/// columns, 7 FMNMX, and compares only that with the row's best: 3 instructions a group, 2 more for
/// the second best. A group that holds a new best has its 8 scores saved in shared memory by
/// predicated stores; the column is looked for once, after the last tile. Nothing branches, so that
/// the few warps of a scheduler keep it busy.
#pragma once

#include <cstdint>

namespace faiss_flash::cuda {

/// kRowBlocks: products whose rows the thread has two of each; kColumns: of the tile, all quads'.
template <int kRowBlocks, int kColumns, bool kSecond>
struct SavedBest {
    static constexpr int kRows = 2 * kRowBlocks; ///< of a thread
    static constexpr int kScores = kColumns / 2; ///< of a thread in a row block, two rows of them
    static constexpr int kGroup = 8;             ///< columns of a thread in a group
    static constexpr int kGroups = kColumns / 4 / kGroup;
    static constexpr int kPairs = kGroup / 2;
    static constexpr int kGroupColumns = 4 * kGroup; ///< of all quads
    static constexpr int32_t kNone = 0x7FFFFFFF;

    float best[kRows];
    float second[kRows];  ///< of the other groups
    int32_t group[kRows]; ///< id of the first column of the best's group, -1 = none yet
    int32_t id[kRows];
    float2* saved; ///< the thread's place for kRows rows of kPairs pairs, 128 threads apart

    __device__ __forceinline__ void reset() {
#pragma unroll
        for (int r = 0; r < kRows; r++) {
            best[r] = second[r] = -INFINITY;
            group[r] = -1;
        }
    }

    /// acc: the thread's scores, as mma leaves them; first: id of the tile's first column.
    __device__ __forceinline__ void update(const float (&acc)[kRowBlocks][kScores], int32_t first) {
#pragma unroll
        for (int r = 0; r < kRows; r++) {
#pragma unroll
            for (int g = 0; g < kGroups; g++) {
                float v[kGroup];
#pragma unroll
                for (int i = 0; i < kGroup; i++) {
                    const int j = kPairs * g + i / 2; // of the thread's pairs of columns
                    v[i] = acc[r / 2][4 * j + 2 * (r % 2) + i % 2];
                }
                const float highest = max8(v);
                const bool better = highest > best[r];
                if (kSecond) {
                    second[r] = fmaxf(second[r], fminf(highest, best[r]));
                }
                best[r] = fmaxf(highest, best[r]);
                group[r] = better ? first + g * kGroupColumns : group[r];
                if (better) {
#pragma unroll
                    for (int pair = 0; pair < kPairs; pair++) {
                        saved[place(r, pair)] = make_float2(v[2 * pair], v[2 * pair + 1]);
                    }
                }
            }
        }
    }

    /// Finds the columns and brings the quad's threads together; call once, after the last tile.
    __device__ __forceinline__ void finish() {
#pragma unroll
        for (int r = 0; r < kRows; r++) {
            float v[kGroup];
#pragma unroll
            for (int pair = 0; pair < kPairs; pair++) {
                const float2 scores = saved[place(r, pair)];
                v[2 * pair] = scores.x;
                v[2 * pair + 1] = scores.y;
            }
            int32_t column = 0;
            float rest = -INFINITY;
#pragma unroll
            for (int i = kGroup - 1; i >= 0; i--) {
                column = v[i] == best[r] ? 8 * (i / 2) + i % 2 : column;
            }
            if (kSecond) {
#pragma unroll
                for (int i = 0; i < kGroup; i++) {
                    rest = fmaxf(rest, 8 * (i / 2) + i % 2 == column ? -INFINITY : v[i]);
                }
                second[r] = group[r] < 0 ? second[r] : fmaxf(second[r], rest);
            }
            const int32_t lane = 2 * (static_cast<int>(threadIdx.x) % 4);
            id[r] = group[r] < 0 ? kNone : group[r] + column + lane;
            merge(r, 1);
            merge(r, 2);
        }
    }

   private:
    /// Pairs lie in neighbouring registers; those of the threads side by side: no bank conflicts.
    __device__ __forceinline__ static constexpr int place(int r, int pair) {
        return (kPairs * r + pair) * 128;
    }

    __device__ __forceinline__ static float max8(const float (&v)[kGroup]) {
        return fmaxf(
                fmaxf(fmaxf(v[0], v[1]), fmaxf(v[2], v[3])),
                fmaxf(fmaxf(v[4], v[5]), fmaxf(v[6], v[7])));
    }

    /// With the lane `distance` away: the higher score, of equal ones the lower id.
    __device__ __forceinline__ void merge(int r, int distance) {
        const float other = __shfl_xor_sync(~0u, best[r], distance);
        const int32_t other_id = __shfl_xor_sync(~0u, id[r], distance);
        if (kSecond) {
            const float other_second = __shfl_xor_sync(~0u, second[r], distance);
            second[r] = fmaxf(fminf(best[r], other), fmaxf(second[r], other_second));
        }
        id[r] = other > best[r] || (other == best[r] && other_id < id[r]) ? other_id : id[r];
        best[r] = fmaxf(best[r], other);
    }
};

} // namespace faiss_flash::cuda
