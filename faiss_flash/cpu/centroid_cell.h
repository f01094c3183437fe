/// Centroids of one assignment pass, centred, scaled and packed, with the bounds of the errors that
/// their float32 scores can have.
///
/// Every metric is "maximise x . c + bias". With m the middle of the centroids and s a power of
/// two,
///   l2:            x' = (x - m) s,  c' = (c - m) s,  bias = -|c'|^2 / 2
///                  score = (|x - m|^2 - |x - c|^2) s^2 / 2
///   inner product: x' = x s,        c' = (c - m) s,  bias = 0
///                  score = (x . c - x . m) s^2
/// Both orders are those of the metric; subtracting m keeps numbers small where data lies far from
/// the origin, s keeps them inside float32's range.
///
/// Bound, u = 2^-24, n = d + 12, A = |x'| |c'| + |bias|: the bound that is added to a score is g A,
/// g = n u / (1 - 2 n u), of c' and x' as they were rounded. The float32 sum of the d products, the
/// bias and the bound itself is off by at most h (1 + g) A with h = (d + 3) u / (1 - (d + 3) u) in
/// any order of summation (Higham, Accuracy and Stability of Numerical Algorithms, 3.1). Rounding
/// x' and c' adds 2 u |x'| |c'|, rounding the bias and taking it from the rounded c' 3 u |bias|,
/// and the comparison with a rounded bar 2 u A. g covers them: g (1 - h) >= h + 5 u and some more
/// for what is of second order, as long as n u <= 1 / 4. It is each centroid's own: where some are
/// long and some are short, the short ones' scores are as exact as those are small. Underflow adds
/// at most 2^-120 d (1 + |x'|) in IEEE's arithmetic, with subnormal numbers. What float64 measures
/// is off as well, by (d + 8) 2^-53 of |x - c|^2 or |x| |c|: centroids that it cannot tell apart
/// are all candidates, so that the result is always float64's, ties to the lowest id.
#pragma once

#include <faiss_flash/cpu/candidates.h>
#include <faiss_flash/cpu/packing.h>
#include <faiss_flash/cpu/row_ops.h>
#include <faiss_flash/kmeans.h>

#include <cstdint>
#include <vector>

namespace faiss_flash::cpu {

/// Centroids as they were given.
struct GivenCentroids {
    const float* data; // [k x d]
    int64_t k;
    int64_t d;
    Metric metric;

    const float* row(int64_t id) const { return data + id * d; }
};

/// Where x' and c' have their origin, and their unit.
struct Frame {
    std::vector<float> middle;
    float scale = 1;
};

class CentroidCell {
   public:
    /// @param ids     which of the centroids, ascending
    /// @param narrow  takes over where rows are short enough; or null
    /// @param codes   in the kernel's place, where `narrow` does not take over; or null
    /// @param frame   of points that were coded before; null: one that suits the centroids. Scores
    ///                are right in any
    CentroidCell(
            const GivenCentroids& centroids,
            std::vector<int32_t> ids,
            const ScoreKernel& kernel,
            const NarrowKernel* narrow,
            const CodeKernel* codes = nullptr,
            const Frame* frame = nullptr);

    int64_t size() const { return static_cast<int64_t>(ids_.size()); }
    const std::vector<float>& middle() const { return frame_.middle; }
    const Frame& frame() const { return frame_; }
    const ScoreKernel& kernel() const { return kernel_; }
    PackedCentroids packed() const { return panels_.view(); }
    /// The kernel for short rows, or null; and what it reads.
    const NarrowKernel* narrow() const { return narrow_kernel_; }
    NarrowCentroids narrow_centroids() const;
    /// The kernel in 8 bits, or null, and what it reads: in the place of kernel() and packed().
    const CodeKernel* codes() const { return code_kernel_; }
    CodedCentroids coded() const { return coded_.view(); }

    /// Asks for a centroid to be brought into the cache.
    void prefetch(int32_t place) const {
        constexpr int64_t kLineFloats = 16;
        const float* centroid = row(place);
        for (int64_t j = 0; j < centroids_.d; j += kLineFloats) {
            __builtin_prefetch(centroid + j);
        }
    }

    /// Where a centroid is in ids, -1 where it is not.
    int32_t place_of(int32_t id) const;

    /// Writes x' [d] and returns a bound of |x'|, infinity where float32 scores say nothing: x is
    /// not finite, or they may leave float32's range.
    float center(const float* x, float* out) const;

    /// False for a length from which on scores may leave float32's range.
    bool has_scores(float length) const { return length < longest_; }

    /// Writes x' in the codes of codes() and returns center()'s bound.
    /// @param centred  [d] is written, on a cache line;
    /// @param codes    [d]; both have room for CodeKernel::kMostLanes more
    float encode(const float* x, float* centred, uint8_t* codes, Coded& coded) const;

    /// The score of a centroid that was measured is not lower.
    /// @param length  center()'s
    float sure_score(const float* x, float length, const Nearest& measured) const;

    /// Twice the part of the error that is the same for all scores of a row of this length.
    float common_error(float length) const { return 2 * common_ * length * length; }

    /// Measures a few of the cell's centroids in float64, as far as float32 cannot tell that one of
    /// them or one that was measured before is nearer.
    /// @param places  in ids
    void measure(const float* x, const int32_t* places, int64_t count, Nearest& nearest) const;

   private:
    void choose_middle();
    void choose_scale();
    ScoredCentroids score();
    ScoredCentroids::Score score_of(double length) const;
    void find_longest(double length);
    float length_of(float squares) const;
    void measure(const float* x, int32_t place, Nearest& nearest) const;
    const float* row(int64_t place) const {
        return centroids_.row(ids_[static_cast<size_t>(place)]);
    }

    const GivenCentroids centroids_;
    const std::vector<int32_t> ids_;
    const ScoreKernel& kernel_;
    const NarrowKernel* const narrow_kernel_;
    const CodeKernel* const code_kernel_;
    const RowOps& ops_;
    Frame frame_;                 // of centroids
    std::vector<float> origin_;   // that points are moved by
    double middle_length_ = 0;    // |m| s
    double longest_centroid_ = 0; // |c'|
    float common_ = 0;            // of a score's error: common |x'|^2
    float longest_ = 0;           // |x'| from which scores may leave float32's range
    float stretch_ = 1;           // what |x'| in float32 may be too short by
    PackedPanels panels_;
    CodedPanels coded_;
    PackedGroups groups_;
};

} // namespace faiss_flash::cpu
