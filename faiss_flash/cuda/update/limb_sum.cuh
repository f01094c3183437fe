/// Values of sums in limbs (core/fixed_point.h), for sources that are compiled without contraction.
#pragma once

#include <faiss_flash/core/double_double.h>
#include <faiss_flash/cuda/update/layout.h>

namespace faiss_flash::cuda {

/// A sum of limbs, which come from the last one on: rounded at each, and to 106 bits. Factors are
/// powers of two: as exact as the host's divisions.
struct LimbSum {
    double rounded = 0;
    DoubleDouble exact{};

    __device__ void take(long long limb, bool is_last, bool exactly, double limb_unit) {
        rounded = rounded * limb_unit + static_cast<double>(limb);
        if (exactly) {
            const DoubleDouble part = of_integer(limb);
            exact = is_last ? part : add(scaled(exact, limb_unit), part);
        }
    }
};

/// Of columns first, first + 32, ... of a cluster, whose loads are on their way together; those
/// from d on are the last one's.
template <int kEach>
__device__ void load_sums(
        const long long* row,
        const SumLayout& layout,
        int limbs,
        double limb_unit,
        int first,
        int d,
        bool exactly,
        LimbSum (&sums)[kEach]) {
    constexpr int kLimbs = 2; // of a column at a time, the most of usual data
    for (int last = limbs - 1; last >= 0; last -= kLimbs) {
        long long parts[kLimbs][kEach];
#pragma unroll
        for (int l = 0; l < kLimbs; l++) {
#pragma unroll
            for (int c = 0; c < kEach; c++) {
                const int place = layout.place(min(first + 32 * c, d - 1));
                parts[l][c] = last >= l ? row[(last - l) * layout.places + place] : 0;
            }
        }
#pragma unroll
        for (int l = 0; l < kLimbs; l++) {
#pragma unroll
            for (int c = 0; c < kEach && last >= l; c++) {
                sums[c].take(parts[l][c], last - l == limbs - 1, exactly, limb_unit);
            }
        }
    }
}

/// Of the weights, which are behind the columns.
__device__ inline double load_weight(
        const long long* row, const SumLayout& layout, int limbs, double limb_unit, double unit) {
    LimbSum sum;
    for (int limb = limbs - 1; limb >= 0; limb--) {
        const long long part = row[limb * layout.places + layout.places - 1];
        sum.take(part, limb == limbs - 1, false, limb_unit);
    }
    return sum.rounded * unit;
}

} // namespace faiss_flash::cuda
