/// Score kernels: x . c + bias for a block of points against all centroids, reduced on the fly to
/// the candidates of each point.
#pragma once

#include <faiss_flash/cpu/aligned.h>
#include <faiss_flash/cpu/candidates.h>

#include <cstdint>
#include <vector>

namespace faiss_flash::cpu {

/// Centroids as a kernel wants to read them.
struct PackedCentroids {
    AlignedFloats data;
    int64_t k = 0;
    int64_t d = 0;
};

class ScoreKernel {
   public:
    virtual ~ScoreKernel() = default;
    virtual const char* name() const = 0;

    /// @param rows  [k x d] float32
    /// @param bias  [k], -inf for a centroid that must never be chosen
    virtual PackedCentroids pack(
            const float* rows, const float* bias, int64_t k, int64_t d) const = 0;

    /// Floats of workspace that score() needs for such a block.
    virtual int64_t workspace(int64_t rows, const PackedCentroids& centroids) const = 0;

    /// Offers every score that may win to its row's list, in ascending order of ids.
    /// @param points  [rows x d] packed, rows a multiple of kRowMultiple
    /// @param lists   [rows]
    virtual void score(
            const float* points,
            int64_t rows,
            const PackedCentroids& centroids,
            float* workspace,
            Candidates* lists) const = 0;

    static constexpr int64_t kRowMultiple = 8;
};

/// Works everywhere: SGEMM of the BLAS library on tiles that stay in the second-level cache.
const ScoreKernel& blas_score_kernel();

/// Those this CPU can run, fastest first, and the first of them.
std::vector<const ScoreKernel*> score_kernels();
const ScoreKernel& score_kernel();

} // namespace faiss_flash::cpu
