/// The centroids of one assignment pass, centred, scaled and packed, with the bound of the error
/// that their float32 scores can have.
///
/// Every metric is "maximise x . c + bias". With m the mean of the centroids and s a power of two,
///   x' = (x - m) s,  c' = (c - m) s,
///   l2:             bias = -|c'|^2 / 2     score = (|x - m|^2 - |x - c|^2) s^2 / 2
///   inner product:  bias = m . (c - m) s^2 score = (x . c - x . m) s^2
/// Both orders are those of the metric; subtracting m keeps numbers small where data lies far from
/// the origin, s keeps them inside float32's range.
///
/// Bound, u = 2^-24, C = max |c'|, B = max |bias|: the float32 product of d + 1 terms is off by at
/// most g (|x'| C + B) with g = n u / (1 - n u) in any order of summation (Higham, Accuracy and
/// Stability of Numerical Algorithms, 3.1); rounding x', c' and the bias adds 2 u |x'| C + u B +
/// u C^2, and the comparison with a rounded threshold 2 u (|x'| C + B): n = d + 12 covers them.
/// Underflow adds at most 2^-120 d (1 + |x'|), flushed subnormals included; for the inner product
/// the float64 bias is itself off by d 2^-52 s |m| C. What float64 measures is off as well, by
/// (d + 8) 2^-53 of |x - c|^2 or |x| |c|: centroids that it cannot tell apart are all candidates,
/// so that the result is always float64's, ties to the lowest id.
#pragma once

#include <faiss_flash/cpu/aligned.h>
#include <faiss_flash/cpu/narrow.h>
#include <faiss_flash/cpu/row_ops.h>
#include <faiss_flash/cpu/scores.h>
#include <faiss_flash/kmeans.h>

#include <cstdint>
#include <vector>

namespace faiss_flash::cpu {

class CentroidTable {
   public:
    /// @param centroids  [k x d], finite, must outlive the table
    /// @param narrow     takes over where rows are short enough; or null
    CentroidTable(
            const float* centroids,
            int64_t k,
            int64_t d,
            Metric metric,
            const ScoreKernel& kernel = score_kernel(),
            const NarrowKernel* narrow = narrow_kernel());

    int64_t k() const { return k_; }
    int64_t d() const { return d_; }
    const ScoreKernel& kernel() const { return kernel_; }
    const PackedCentroids& packed() const { return packed_; }
    /// The kernel for short rows, or null; and what it reads.
    const NarrowKernel* narrow() const { return narrow_kernel_; }
    const NarrowCentroids& narrow_centroids() const { return narrow_; }

    /// Writes x' [d] and returns |x'|; not finite where x is not or where float32 overflows.
    double center(const float* x, float* out) const;

    /// Twice the largest error of a score of a point with this |x'|; infinity where scores may
    /// leave float32's range.
    float margin(double length) const;
    /// The |x'| from which scores may leave float32's range.
    double longest() const;

    /// What the metric measures, in float64: squared distance or product.
    double exact(const float* x, int64_t id) const;

    /// True where `value` beats `other` under the metric.
    bool better(double value, double other) const {
        return metric_ == Metric::l2 ? value < other : value > other;
    }

   private:
    void choose_mean();
    void choose_scale();
    void pack();
    void find_margins();
    void pack_narrow(const float* rows, const float* bias);

    const float* centroids_;
    const int64_t k_;
    const int64_t d_;
    const Metric metric_;
    const ScoreKernel& kernel_;
    const RowOps& ops_;
    std::vector<float> mean_;
    float scale_ = 1;
    double mean_length_ = 0;    // |m| s
    double largest_length_ = 0; // C
    double largest_bias_ = 0;   // B
    double margins_[3] = {};    // of a point of length l: (0) + (1) l + (2) l^2
    PackedCentroids packed_;

    const NarrowKernel* narrow_kernel_;
    NarrowCentroids narrow_;
    AlignedFloats narrow_groups_;
    std::vector<float> narrow_plain_, narrow_mean_;
};

} // namespace faiss_flash::cpu
