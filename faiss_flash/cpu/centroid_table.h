/// All centroids of one assignment pass.
#pragma once

#include <faiss_flash/cpu/centroid_cell.h>
#include <faiss_flash/cpu/line.h>

#include <cstdint>
#include <optional>
#include <vector>

namespace faiss_flash::cpu {

/// One cell holds them all, as a rule. Where they lie in a few places that are small beside what is
/// between them, each place has a cell of its own: float32 cannot tell apart, from one middle, what
/// is so close together, and a row has few cells to look into.
class CentroidTable {
   public:
    /// @param data    [k x d], finite, must outlive the table
    /// @param narrow  takes over where rows are short enough; or null
    /// @param codes   in the kernel's place where one cell holds all, without `narrow`; or null
    /// @param frame   of points that were coded before, or null
    CentroidTable(
            const float* data,
            int64_t k,
            int64_t d,
            Metric metric,
            const ScoreKernel& kernel = score_kernel(),
            const NarrowKernel* narrow = narrow_kernel(),
            const CodeKernel* codes = nullptr,
            const Frame* frame = nullptr);

    int64_t k() const { return centroids_.k; }
    int64_t d() const { return centroids_.d; }
    /// Where a point is one number, in the place of cells.
    const std::optional<LineCentroids>& line() const { return line_; }
    const std::vector<CentroidCell>& cells() const { return cells_; }

    /// Scores are in 8 bits.
    bool coded() const { return cells_.size() == 1 && cells_.front().codes(); }

    /// True where `value` beats `other` under the metric.
    bool better(double value, double other) const {
        return centroids_.metric == Metric::l2 ? value < other : value > other;
    }
    /// No centroid of a cell has a better value for x than this.
    double best_possible(const float* x, size_t cell) const;

   private:
    std::vector<std::vector<int32_t>> split(const std::vector<int32_t>& ids, int64_t most) const;

    const GivenCentroids centroids_;
    std::optional<LineCentroids> line_;
    std::vector<CentroidCell> cells_;
    std::vector<double> radii_; // of the cells
};

} // namespace faiss_flash::cpu
