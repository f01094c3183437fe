/// The centroid update: weighted means of the points assigned to each centroid, and the objective.
#pragma once

#include <faiss_flash/core/backend.h>
#include <faiss_flash/core/fixed_point.h>
#include <faiss_flash/core/objective.h>
#include <faiss_flash/core/points.h>

#include <cstdint>
#include <vector>

namespace faiss_flash::cpu {

/// Sums points in fixed point (core/fixed_point.h), so that no order of addition matters, and
/// points that did not move since the last run need not be added again.
///
/// 1. Points whose id changed have two entries: one taken from the old cluster, one for the new.
///    Where these are many, the sums start again from zero with one entry a point.
/// 2. A counting sort brings the entries into the order of their clusters.
/// 3. Threads take pieces of that order: a whole small cluster, or 4096 entries of a large one; a
///    piece is summed into integers of its thread's own and added to the cluster's.
/// 4. Sums become means, and what they add to the objective (core/objective.h).
/// IO: the points with entries once. Memory: 20 bytes a point, 8 to 16 a centroid's coordinate.
class CentroidUpdate {
   public:
    /// @param weights  [n] or null; both must outlive the update
    CentroidUpdate(const Points& points, const float* weights, Metric metric);

    /// Fills sizes, weights and means of the result from the ids [n] that were found for centroids
    /// [k x d]; without weights the objective, too.
    void run(
            const std::vector<int32_t>& ids, const float* centroids, int64_t k, StepResult& result);

   private:
    struct Piece {
        int64_t cluster;
        int64_t begin; // in order_
        int64_t end;
        bool whole; // all entries of the cluster
    };

    void plan_sums();
    void sum_squares(const ColumnRange& range);
    /// Calls entry(cluster, point), or entry(cluster, ~point) for one taken away.
    template <class Entry>
    void for_each_entry(const std::vector<int32_t>& ids, bool moved_only, const Entry& entry) const;
    std::vector<Piece> sort(const std::vector<int32_t>& ids, int64_t k, bool moved_only);
    void add(const std::vector<Piece>& pieces);
    void sum(const Piece& piece, float* scratch, int64_t* sums) const;
    void finish(int64_t cluster, const float* centroid, StepResult& result);

    int64_t columns() const { return points_.d() + 1; } // the last one sums the weights
    size_t row_size() const { return static_cast<size_t>(format_.limbs * columns()); }

    const Points& points_;
    const float* weights_;
    const bool l2_;
    FixedPoint format_;
    DoubleDouble squares_{};          // of all points; l2 without weights
    std::vector<DoubleDouble> gains_; // [k]
    std::vector<int32_t> previous_;   // ids that the sums are of
    std::vector<int64_t> order_;      // points of the entries
    std::vector<int64_t> sums_;       // [k x row_size()]
    std::vector<int64_t> sizes_;      // [k]
};

} // namespace faiss_flash::cpu
