/// The centroid update: weighted means of the points assigned to each centroid.
#pragma once

#include <faiss_flash/core/backend.h>
#include <faiss_flash/core/fixed_point.h>
#include <faiss_flash/core/points.h>

#include <cstdint>
#include <vector>

namespace faiss_flash::cpu {

/// Sums points in fixed point (core/fixed_point.h), so that no order of addition matters.
///
/// 1. A counting sort brings the point numbers into the order of their ids.
/// 2. Threads take pieces of that order: a whole small cluster, or 4096 points of a large one.
/// 3. A piece is summed into integers of its thread's own; a whole cluster becomes a mean at once,
///    pieces of one are added up and become a mean at the end.
/// IO: the points once. Memory: 8 bytes a point, and a few rows of integers.
class CentroidUpdate {
   public:
    /// @param weights  [n] or null; both must outlive the update
    CentroidUpdate(const Points& points, const float* weights);

    /// Fills sizes, weights and means of the result from the ids [n].
    void run(const std::vector<int32_t>& ids, int64_t k, StepResult& result);

   private:
    struct Piece {
        int64_t cluster;
        int64_t begin; // in order_
        int64_t end;
        int64_t merged; // row of merged_ to add to, -1 for a whole cluster
    };

    void plan_sums();
    void sort(const std::vector<int32_t>& ids, int64_t k, std::vector<int64_t>& sizes);
    std::vector<Piece> cut(const std::vector<int64_t>& sizes, std::vector<int64_t>& split) const;
    void sum(const Piece& piece, float* scratch, int64_t* sums) const;
    void finish(int64_t cluster, const int64_t* sums, StepResult& result) const;

    int64_t columns() const { return points_.d() + 1; } // the last one sums the weights
    size_t row_size() const { return static_cast<size_t>(format_.limbs * columns()); }

    const Points& points_;
    const float* weights_;
    FixedPoint format_;
    std::vector<int64_t> order_;
};

} // namespace faiss_flash::cpu
