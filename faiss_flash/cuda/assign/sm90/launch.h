/// The compiled variants of the Hopper kernel.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

namespace faiss_flash::cuda::sm90 {

struct Arguments;

struct Variant {
    int steps; ///< columns by 16
    bool bf16;
    bool second;
    int threads;
    int shared_bytes;
    int warpgroup_points; ///< rows of the points' box
    const void* kernel;
};

/// The variant with the fewest steps that holds d columns; null where there is none.
const Variant* find_variant(int64_t d, bool bf16, bool second);

} // namespace faiss_flash::cuda::sm90
