/// What happens to a tile of scores: the running best of every row, its id and the second best.
///
/// A thread holds a quarter of the columns of each of its rows. It takes the best of groups of 8
/// columns and compares only that with the row's best: 3 instructions a group, 2 more for the
/// second best. A group that holds a new best has its 8 scores saved by predicated instructions;
/// the column is looked for once, after the last tile. Nothing branches, so that the few warps of a
/// scheduler keep it busy.
#pragma once

#include <cstdint>
#include <type_traits>
#include <utility>

namespace faiss_flash::cuda {

/// The best score is the highest: 8 scores cost 7 FMNMX.
struct HighestScore {
    using Value = float;
    static constexpr Value kWorst = -__builtin_huge_valf();
    __device__ static Value of(float score) { return score; }
    __device__ static bool better(Value a, Value b) { return a > b; }
    __device__ static Value best(Value a, Value b) { return fmaxf(a, b); }
    __device__ static Value worst(Value a, Value b) { return fminf(a, b); }
    /// Best of v and `best`.
    __device__ static Value best(const Value (&v)[8], Value best) {
        const float highest =
                fmaxf(fmaxf(fmaxf(v[0], v[1]), fmaxf(v[2], v[3])),
                      fmaxf(fmaxf(v[4], v[5]), fmaxf(v[6], v[7])));
        return fmaxf(highest, best);
    }
};

/// The best is the lowest of floats >= 0, which order as their bits do: 8 cost 4 VIMNMX3.
struct LowestDistance {
    using Value = int32_t;
    static constexpr Value kWorst = 0x7F800000; // infinity
    __device__ static Value of(float distance) { return __float_as_int(distance); }
    __device__ static bool better(Value a, Value b) { return a < b; }
    __device__ static Value best(Value a, Value b) { return min(a, b); }
    __device__ static Value worst(Value a, Value b) { return max(a, b); }
    __device__ static Value best(const Value (&v)[8], Value best) {
        const Value left = __vimin3_s32(v[0], v[1], v[2]);
        const Value right = __vimin3_s32(v[3], v[4], v[5]);
        return __vimin3_s32(__vimin3_s32(v[6], v[7], left), right, best);
    }
};

/// Where the saved scores of a thread of 128 are: in shared memory, the threads' pairs side by side
/// (no bank conflicts). 4 instructions a group, and the memory's bandwidth where bests are
/// frequent.
struct SharedGroups {
    float2* pairs; ///< the thread's first
    template <int kRow>
    __device__ __forceinline__ void save(const float (&v)[8], bool wanted) {
        if (wanted) {
#pragma unroll
            for (int pair = 0; pair < 4; pair++) {
                pairs[(4 * kRow + pair) * 128] = make_float2(v[2 * pair], v[2 * pair + 1]);
            }
        }
    }
    template <int kRow>
    __device__ __forceinline__ void load(float (&v)[8]) const {
#pragma unroll
        for (int pair = 0; pair < 4; pair++) {
            const float2 scores = pairs[(4 * kRow + pair) * 128];
            v[2 * pair] = scores.x;
            v[2 * pair + 1] = scores.y;
        }
    }
};

/// The same in registers: 8 selections a group.
template <int kRows>
struct RegisterGroups {
    float kept[kRows][8];
    template <int kRow>
    __device__ __forceinline__ void save(const float (&v)[8], bool wanted) {
#pragma unroll
        for (int i = 0; i < 8; i++) {
            kept[kRow][i] = wanted ? v[i] : kept[kRow][i];
        }
    }
    template <int kRow>
    __device__ __forceinline__ void load(float (&v)[8]) const {
#pragma unroll
        for (int i = 0; i < 8; i++) {
            v[i] = kept[kRow][i];
        }
    }
};

/// Calls body(std::integral_constant<int, i>) for i = 0 .. kCount - 1: loops that must unroll.
template <class Body, int... kIndex>
__device__ __forceinline__ void static_for(
        const Body& body, std::integer_sequence<int, kIndex...> /*indices*/) {
    (body(std::integral_constant<int, kIndex>()), ...);
}
template <int kCount, class Body>
__device__ __forceinline__ void static_for(const Body& body) {
    static_for(body, std::make_integer_sequence<int, kCount>());
}

/// kRowBlocks: products whose rows the thread has two of each; kColumns: of the tile, all quads'.
template <int kRowBlocks, int kColumns, bool kSecond, class Order, class Groups = SharedGroups>
struct SavedBest {
    using Value = typename Order::Value;
    static constexpr int kRows = 2 * kRowBlocks; ///< of a thread
    static constexpr int kScores = kColumns / 2; ///< of a thread in a row block, two rows of them
    static constexpr int kGroup = 8;             ///< columns of a thread in a group
    static constexpr int kGroups = kColumns / 4 / kGroup;
    static constexpr int kGroupColumns = 4 * kGroup; ///< of all quads
    static constexpr int32_t kNone = 0x7FFFFFFF;

    Value best[kRows];
    Value second[kRows];  ///< of the other groups
    int32_t group[kRows]; ///< id of the first column of the best's group, -1 = none yet
    int32_t id[kRows];
    Groups saved;

    __device__ __forceinline__ void reset() {
#pragma unroll
        for (int r = 0; r < kRows; r++) {
            best[r] = second[r] = Order::kWorst;
            group[r] = -1;
        }
    }

    /// acc: the thread's scores, as mma leaves them; first: id of the tile's first column.
    __device__ __forceinline__ void update(const float (&acc)[kRowBlocks][kScores], int32_t first) {
        static_for<kRows>([&](auto row) {
            constexpr int r = decltype(row)::value;
#pragma unroll
            for (int g = 0; g < kGroups; g++) {
                float scores[kGroup];
                Value v[kGroup];
#pragma unroll
                for (int i = 0; i < kGroup; i++) {
                    scores[i] = acc[r / 2][4 * (kGroup / 2 * g + i / 2) + 2 * (r % 2) + i % 2];
                    v[i] = Order::of(scores[i]);
                }
                Value now;
                if (kSecond) {
                    const Value top = Order::best(v, Order::kWorst);
                    second[r] = Order::best(second[r], Order::worst(top, best[r]));
                    now = Order::best(top, best[r]);
                } else {
                    now = Order::best(v, best[r]);
                }
                const bool better = Order::better(now, best[r]);
                best[r] = now;
                group[r] = better ? first + g * kGroupColumns : group[r];
                saved.template save<r>(scores, better);
            }
        });
    }

    /// Finds the columns and brings the quad's threads together; call once, after the last tile.
    __device__ __forceinline__ void finish() {
        static_for<kRows>([&](auto row) {
            constexpr int r = decltype(row)::value;
            float scores[kGroup];
            saved.template load<r>(scores);
            int32_t column = 0;
#pragma unroll
            for (int i = kGroup - 1; i >= 0; i--) {
                column = Order::of(scores[i]) == best[r] ? 8 * (i / 2) + i % 2 : column;
            }
            if (kSecond) {
                Value rest = Order::kWorst;
#pragma unroll
                for (int i = 0; i < kGroup; i++) {
                    const bool chosen = 8 * (i / 2) + i % 2 == column;
                    rest = Order::best(rest, chosen ? Order::kWorst : Order::of(scores[i]));
                }
                second[r] = group[r] < 0 ? second[r] : Order::best(second[r], rest);
            }
            const int32_t lane = 2 * (static_cast<int>(threadIdx.x) % 4);
            id[r] = group[r] < 0 ? kNone : group[r] + column + lane;
            merge(r, 1);
            merge(r, 2);
        });
    }

   private:
    /// With the lane `distance` away: the better score, of equal ones the lower id.
    __device__ __forceinline__ void merge(int r, int distance) {
        const Value other = __shfl_xor_sync(~0u, best[r], distance);
        const int32_t other_id = __shfl_xor_sync(~0u, id[r], distance);
        if (kSecond) {
            const Value other_second = __shfl_xor_sync(~0u, second[r], distance);
            second[r] =
                    Order::best(Order::worst(best[r], other), Order::best(second[r], other_second));
        }
        const bool take = Order::better(other, best[r]) || (other == best[r] && other_id < id[r]);
        id[r] = take ? other_id : id[r];
        best[r] = Order::best(best[r], other);
    }
};

} // namespace faiss_flash::cuda
