/// Values of sums in limbs (core/fixed_point.h), for sources that are compiled without contraction.
#pragma once

#include <faiss_flash/core/double_double.h>

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

} // namespace faiss_flash::cuda
