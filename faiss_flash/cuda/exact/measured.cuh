/// Float64 measures of pairs of rows, by groups of eight lanes, with the CPU backend's bits: for
/// sources that are compiled without contraction.
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

/// Squared distances or products of a row and two others, by the lanes of a group; all have the
/// results.
__device__ inline double2 measured_pair(
        const float* x, const float* c, const float* other, int64_t d, bool l2) {
    double2 sums{};
#pragma unroll 8
    for (int64_t j = threadIdx.x % kLanes; j < d; j += kLanes) {
        const double a = x[j];
        const double b[2] = {c[j], other[j]};
        sums.x += l2 ? (a - b[0]) * (a - b[0]) : a * b[0];
        sums.y += l2 ? (a - b[1]) * (a - b[1]) : a * b[1];
    }
    return {add_lanes(sums.x), add_lanes(sums.y)};
}

__device__ inline double measured(const float* x, const float* c, int64_t d, bool l2) {
    return measured_pair(x, c, c, d, l2).x;
}

__device__ inline bool beats(double value, int32_t id, double other, int32_t other_id, bool l2) {
    return l2 ? value < other || (value == other && id < other_id)
              : value > other || (value == other && id < other_id);
}

} // namespace faiss_flash::cuda
