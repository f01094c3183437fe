/// Score kernels: x . c + bias for a block of points against all centroids, reduced on the fly to
/// the candidates of each point.
#pragma once

#include <faiss_flash/cpu/candidates.h>

#include <cstdint>
#include <vector>

namespace faiss_flash::cpu {

/// Centroids as the kernels read them: in panels of `width` side by side. A panel is rows of
/// `width` floats: the fixed errors, the biases, and what each column of a point is multiplied
/// with. The last panel is narrower, a multiple of the kernel's lanes.
///
/// The first column of a point is its length and meets the centroid's slope: an error grows with
/// the length, so that a score comes out as an upper bound of the true one. It is nowhere higher by
/// more than twice fixed + slope * length. The bias, fixed error included, is -inf for a centroid
/// that must never be chosen.
struct PackedCentroids {
    enum Head { kFixed, kBias, kSlope, kCoordinates };

    const float* panels = nullptr; // on a cache line
    int64_t k = 0;
    int64_t columns = 0; // of a point, its length included
};

struct ScoreKernel {
    const char* name;
    int64_t panel;     // centroids side by side
    int64_t lanes;     // the last panel has a multiple of these
    int64_t workspace; // floats a row

    /// Offers every centroid that may win to its row's list, in ascending order of ids.
    /// @param points  [rows x columns] packed, rows a multiple of kRowMultiple
    /// @param lists   [rows]
    void (*score)(
            const float* points,
            int64_t rows,
            const PackedCentroids& centroids,
            float* workspace,
            Candidates* lists);

    static constexpr int64_t kRowMultiple = 8;
};

/// Those this CPU can run, fastest first, and the first of them.
std::vector<const ScoreKernel*> score_kernels();
const ScoreKernel& score_kernel();

} // namespace faiss_flash::cpu
