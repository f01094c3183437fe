/// A row's best centroids by their scores, and which of them is the nearest: for sources that are
/// compiled without contraction.
#pragma once

#include <faiss_flash/cuda/direct/arguments.cuh>
#include <faiss_flash/cuda/elements.cuh>
#include <faiss_flash/cuda/exact/measured.cuh>

#include <cfloat>

namespace faiss_flash::cuda {

/// A row's best centroids, as far as a thread has seen.
struct Leaders {
    float best = -INFINITY;
    float second = -INFINITY;
    float third = -INFINITY;
    int32_t id = 0;
    int32_t second_id = 0;

    __device__ void take(float score, int32_t other) {
        const bool first = score > best;
        const bool among = score > second;
        third = fmaxf(third, fminf(second, score));
        second_id = first ? id : among ? other : second_id;
        second = first ? best : fmaxf(second, score);
        id = first ? other : id;
        best = fmaxf(best, score);
    }
    /// Takes what a lane of the warp has given that has seen other centroids.
    __device__ void join(const Leaders& given, int mask) {
        const float other_third = __shfl_xor_sync(~0u, given.third, mask);
        const float other_best = __shfl_xor_sync(~0u, given.best, mask);
        const float other_second = __shfl_xor_sync(~0u, given.second, mask);
        const int32_t other_id = __shfl_xor_sync(~0u, given.id, mask);
        const int32_t other_second_id = __shfl_xor_sync(~0u, given.second_id, mask);
        take(other_best, other_id);
        take(other_second, other_second_id);
        third = fmaxf(third, other_third);
    }
};

/// The bit that eight lanes of a warp take of the next four; the first where there are fewer.
__device__ inline int own_bit(unsigned bits) {
    unsigned rest = bits;
#pragma unroll
    for (int i = 1; i < 32 / kLanes; i++) {
        rest = i <= static_cast<int>(threadIdx.x % 32) / kLanes ? rest & (rest - 1) : rest;
    }
    return __ffs(static_cast<int>(rest ? rest : bits)) - 1;
}

__device__ inline unsigned without_four(unsigned bits) {
#pragma unroll
    for (int i = 0; i < 32 / kLanes; i++) {
        bits &= bits - 1;
    }
    return bits;
}

/// The best of two in float64, by eight lanes.
__device__ __noinline__ int32_t decide_pair(
        const DirectArguments& arguments, int64_t problem, int64_t row, int32_t id, int32_t other) {
    const int d = arguments.d;
    const float* centroids = arguments.centroids + problem * arguments.k * d;
    double values[2] = {};
    with_element(arguments.dtype, [&](auto element) {
        measure_all<2>(
                point_of<decltype(element)>(arguments, problem * arguments.n + row),
                {centroids + int64_t{id} * d, centroids + int64_t{other} * d},
                d,
                arguments.l2,
                values);
    });
    Best best;
    best.take(values[0], id, arguments.l2);
    best.take(values[1], other, arguments.l2);
    return best.id;
}

/// The best in float64 of the problem's centroids whose scores reach the bar, by a whole warp.
template <class Element>
__device__ __noinline__ int32_t
decide_row(const DirectArguments& arguments, int64_t problem, int64_t row, float bar) {
    const int d = arguments.d;
    const int32_t k = arguments.k;
    const auto lane = static_cast<int32_t>(threadIdx.x % 32);
    const Element* point = point_of<Element>(arguments, problem * arguments.n + row);
    const float* mean = arguments.mean + problem * d;
    const float scale = arguments.point_scale[problem];
    const float* centroids = arguments.centroids + problem * k * d;
    Best best;
    for (int32_t first = 0; first < k; first += 32) {
        const int32_t own = min(first + lane, k - 1);
        const float* centroid = centroids + int64_t{own} * d;
        float score = 0;
        float bias = 0;
#pragma unroll 8
        for (int j = 0; j < d; j++) {
            const float x = (static_cast<float>(point[j]) - mean[j]) * scale;
            const float c = (centroid[j] - mean[j]) * scale;
            score = __fmaf_rn(x, c, score);
            bias = arguments.l2 ? __fmaf_rn(-0.5f * c, c, bias)
                                : __fmaf_rn(mean[j] * scale, c, bias);
        }
        score += bias;
        // Written so that a NaN anywhere has the centroid measured.
        unsigned left = __ballot_sync(~0u, first + lane < k && !(score < bar));
        while (left) {
            const int bit = own_bit(left);
            double value[1];
            measure_all<1>(point, {centroids + int64_t{first + bit} * d}, d, arguments.l2, value);
            best.take(value[0], first + bit, arguments.l2);
            left = without_four(left);
        }
    }
    for (int mask = kLanes; mask < 32; mask *= 2) {
        const double value = __shfl_xor_sync(~0u, best.value, mask);
        const int32_t id = __shfl_xor_sync(~0u, best.id, mask);
        best.take(value, id, arguments.l2);
    }
    return best.id;
}

/// Writes the ids of a warp's rows, one a lane that has_row. Returns whether the lane's was decided
/// in float64.
__device__ inline bool finish_rows(
        const DirectArguments& arguments,
        int64_t problem,
        const Leaders& leaders,
        float margin,
        int64_t row,
        bool has_row) {
    int32_t* ids = arguments.ids + problem * arguments.n;
    float bar = leaders.best - margin;
    const bool says_nothing = !(margin <= FLT_MAX) || !(fabsf(bar) <= FLT_MAX);
    bar = says_nothing ? -INFINITY : bar;
    const bool many = has_row && (says_nothing || leaders.third >= bar);
    const bool two = has_row && !many && leaders.second >= bar;
    if (has_row && !many && !two) {
        ids[row] = leaders.id;
    }
    for (unsigned left = __ballot_sync(~0u, two); left; left = without_four(left)) {
        const int from = own_bit(left);
        const int64_t open_row = __shfl_sync(~0u, row, from);
        const int32_t id = __shfl_sync(~0u, leaders.id, from);
        const int32_t other = __shfl_sync(~0u, leaders.second_id, from);
        const int32_t nearest = decide_pair(arguments, problem, open_row, id, other);
        if (threadIdx.x % kLanes == 0) { // some write the same
            ids[open_row] = nearest;
        }
    }
    for (unsigned left = __ballot_sync(~0u, many); left; left &= left - 1) {
        const int from = __ffs(static_cast<int>(left)) - 1;
        const int64_t open_row = __shfl_sync(~0u, row, from);
        const float open_bar = __shfl_sync(~0u, bar, from);
        int32_t nearest = -1;
        with_element(arguments.dtype, [&](auto element) {
            nearest = decide_row<decltype(element)>(arguments, problem, open_row, open_bar);
        });
        if (threadIdx.x % 32 == 0) {
            ids[open_row] = nearest;
        }
    }
    return many || two;
}

} // namespace faiss_flash::cuda
