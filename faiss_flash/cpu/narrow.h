/// Assignment of rows of at most 16 coordinates: product quantizers. What a row costs besides its
/// scores counts as much as they do, so all of it is one kernel.
#pragma once

#include <cstdint>
#include <vector>

namespace faiss_flash::cpu {

/// Centroids as the kernel reads them, with the bounds of its scores' errors (centroid_cell.h).
///
/// They are in groups of 16, short ones first: a group has one bound, that of its longest, and the
/// short ones' scores are as exact as those are small.
struct NarrowCentroids {
    static constexpr int64_t kGroup = 16;
    static constexpr int64_t kMostColumns = 16;

    int64_t d = 0;
    int64_t group_count = 0;
    const float* scored = nullptr;    ///< [group_count x (1 + d) x 16] biases, then c', aligned
    const float* plain = nullptr;     ///< [group_count x d x 16] as given, NaN for none
    const float* errors = nullptr;    ///< [group_count x 2] a score is off by (0) + (1) |x'|
    const int32_t* places = nullptr;  ///< [group_count x 16] in ids
    const int32_t* ids = nullptr;     ///< [k] ascending
    const float* centroids = nullptr; ///< [d] each as given, by id
    const float* origin = nullptr;    ///< [d] x' = (x - origin) scale
    float scale = 1;
    float common = 0;  ///< and by this times |x'|^2
    float longest = 0; ///< from this |x'| on scores say nothing
    bool l2 = true;
};

struct NarrowKernel {
    const char* isa;
    /// The best centroids of `count` rows, float64's, ties to the lowest id.
    /// @param rows    row i at rows + i * stride (floats)
    /// @param ids     [count] -1 where float32 says nothing: float64 over all must decide
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
