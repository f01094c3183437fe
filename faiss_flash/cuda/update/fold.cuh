/// core's fold() by a warp.
#pragma once

#include <faiss_flash/core/objective.h>

namespace faiss_flash::cuda {

/// Of the kColumnLanes sums of a warp's lanes; the first lane has fold()'s bits.
__device__ inline DoubleDouble fold_warp(DoubleDouble sum) {
    static_assert(kColumnLanes == 32);
    for (int width = kColumnLanes / 2; width > 0; width /= 2) {
        sum = add(
                sum, {__shfl_xor_sync(~0u, sum.high, width), __shfl_xor_sync(~0u, sum.low, width)});
    }
    return sum;
}

} // namespace faiss_flash::cuda
