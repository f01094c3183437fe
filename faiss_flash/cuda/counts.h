/// What an iteration counts on the device.
#pragma once

#include <cstdint>

namespace faiss_flash::cuda {

/// Of one problem; kernels add to them.
struct IterationCounts {
    int64_t redone;  ///< points that the first pass of the exact assignment has not settled
    int64_t decided; ///< points decided in float64
    int64_t invalid; ///< points whose id is not a centroid's
};

} // namespace faiss_flash::cuda
