/// Power-of-two scales, and reductions that do not depend on the order.
#pragma once

namespace faiss_flash::cuda {

/// Brings `largest` to 2^13 .. 2^14: inside f16's range, with room for products that add up.
__device__ inline double scale_of(float largest) {
    return largest > 0 ? ldexp(1.0, 13 - max(-100, min(100, ilogbf(largest)))) : 1.0;
}

/// A float that is not less, for bounds.
__device__ inline float round_up(double value) {
    return static_cast<float>(value * (1 + 0x1p-20));
}

/// Of values >= 0, which order as their bits do. A NaN wins: its bits are the largest.
__device__ inline void atomic_max(float* to, float value) {
    auto* bits = reinterpret_cast<int*>(to);
    if (__float_as_int(value) > *static_cast<volatile int*>(bits)) { // seldom, once many have been
        atomicMax(bits, __float_as_int(value));
    }
}

/// The largest of a warp's values >= 0, NaNs included.
__device__ inline float warp_max(float value) {
    return __uint_as_float(__reduce_max_sync(~0u, __float_as_uint(value)));
}

/// In a fixed order.
template <class Number>
__device__ inline Number warp_sum(Number value) {
    for (int distance = 16; distance; distance /= 2) {
        value += __shfl_xor_sync(~0u, value, distance);
    }
    return value;
}

} // namespace faiss_flash::cuda
