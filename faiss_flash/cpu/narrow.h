/// Assignment of rows of at most 16 coordinates: product quantizers. What a row costs besides its
/// scores counts as much as they do, so all of it is one kernel.
#pragma once

#include <cstdint>
#include <vector>

namespace faiss_flash::cpu {

/// Centroids as the kernel reads them, with the bound of its scores' errors (centroid_table.h).
struct NarrowCentroids {
    static constexpr int64_t kGroup = 16;
    static constexpr int64_t kMostColumns = 16;

    int64_t d = 0;       ///< of a point
    int64_t columns = 0; ///< d rounded up to 4, 8 or 16
    /// Groups of 16 centroids, on a cache line: [16] biases, then [columns x 16] coordinates.
    const float* groups = nullptr;
    int64_t group_count = 0;
    const float* plain = nullptr; ///< [k x columns] as they were given
    const float* mean = nullptr;  ///< [columns]
    float scale = 1;
    /// A point of length l has the margin (0) + (1) l + (2) l^2, and none from `longest` on.
    float margin[3] = {};
    float longest = 0;
    bool l2 = true;
};

struct NarrowKernel {
    const char* isa;
    /// The best centroids of `count` rows, float64's, ties to the lowest id.
    /// @param rows    row i at rows + i * stride (floats)
    /// @param ids     [count] -1 where float32 scores say nothing: float64 over all must decide
    /// @param values  [count] squared distance or product in float64; not written for such rows
    /// @return        rows that float64 decided
    int64_t (*assign)(
            const NarrowCentroids& centroids,
            const float* rows,
            int64_t stride,
            int64_t count,
            int32_t* ids,
            double* values);
};

/// Every variant this CPU can run, fastest first; none where only the general path does.
std::vector<const NarrowKernel*> narrow_kernels();
const NarrowKernel* narrow_kernel(); ///< the first of them, or null

} // namespace faiss_flash::cpu
