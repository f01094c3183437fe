/// Float64 measures of rows, by groups of eight lanes, with the CPU backend's bits: for sources
/// that are compiled without contraction.
#pragma once

#include <cstdint>

namespace faiss_flash::cuda {

inline constexpr int kLanes = 8; // of a sum

__device__ inline unsigned group_mask() {
    return 0xFFu << (threadIdx.x % 32 / kLanes * kLanes);
}

/// The sum of a group's lanes, in the CPU backend's order.
template <class Number>
__device__ inline Number add_lanes(Number sum) {
    sum += __shfl_xor_sync(group_mask(), sum, 4);
    sum += __shfl_xor_sync(group_mask(), sum, 2);
    return sum + __shfl_xor_sync(group_mask(), sum, 1);
}

/// values: squared distances or products of a row and others, by the lanes of a group; all have the
/// results.
template <int kOthers, class Element>
__device__ inline void measure_all(
        const Element* x,
        const float* const (&others)[kOthers],
        int64_t d,
        bool l2,
        double (&values)[kOthers]) {
    double sums[kOthers] = {};
#pragma unroll 8
    for (int64_t j = threadIdx.x % kLanes; j < d; j += kLanes) {
        const double a = static_cast<float>(x[j]);
#pragma unroll
        for (int i = 0; i < kOthers; i++) {
            const double b = others[i][j];
            sums[i] += l2 ? (a - b) * (a - b) : a * b;
        }
    }
#pragma unroll
    for (int i = 0; i < kOthers; i++) {
        values[i] = add_lanes(sums[i]);
    }
}

/// The best of what is offered.
struct Best {
    double value = 0;
    int32_t id = -1; ///< -1: none yet

    __device__ void take(double other, int32_t other_id, bool l2) {
        const bool nearer = l2 ? other < value : other > value;
        if (id < 0 || nearer || (other == value && other_id < id)) {
            value = other;
            id = other_id;
        }
    }
};

/// Takes all of ids (more(), next()), of centroids [k x d], by the lanes of a group, two at a time.
template <class Ids, class Element>
__device__ inline void take_all(
        Ids ids,
        const Element* x,
        const float* centroids,
        int32_t k,
        int64_t d,
        bool l2,
        Best& best) {
    while (ids.more()) {
        const int32_t id = ids.next();
        const int32_t other = ids.more() ? ids.next() : id;
        double values[2];
        measure_all<2>(
                x,
                {centroids + min(id, k - 1) * d, centroids + min(other, k - 1) * d},
                d,
                l2,
                values);
        best.take(values[0], id, l2);
        best.take(values[1], other, l2);
    }
}

} // namespace faiss_flash::cuda
