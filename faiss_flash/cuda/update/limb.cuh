/// How a number is cut into integers (core/fixed_point.h) in float64.
#pragma once

#include <faiss_flash/core/fixed_point.h>

namespace faiss_flash::cuda {

/// The integer nearest to rest; what it leaves of rest, in units of the next limb, is the new rest.
__device__ inline long long take_limb(double& rest, double limb_step) {
    const double shifted = rest + FixedPoint::kRoundMagic;
    rest = (rest - (shifted - FixedPoint::kRoundMagic)) * limb_step;
    return __double_as_longlong(shifted) - __double_as_longlong(FixedPoint::kRoundMagic);
}

} // namespace faiss_flash::cuda
