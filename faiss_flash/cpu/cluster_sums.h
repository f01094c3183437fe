/// The rows of each cluster added up, and what one pass over all rows finds.
#pragma once

#include <faiss_flash/core/fixed_point.h>
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
/// IO: the points with entries once. Memory: 20 bytes a point, 8 to 16 a centroid's coordinate.
class ClusterSums {
   public:
    /// @param weights  [n] or null; both must outlive this
    ClusterSums(const Points& points, const float* weights);

    /// Of weight * x in each of d columns, and of the weights.
    ColumnRange range() const;

    /// Adds x^2 of every point to sums [limbs x d].
    void add_squares(const FixedPoint& format, int64_t* sums) const;

    /// Begins with k clusters. Where sums [k x row] and sizes [k], zeros, are kept from run to run;
    /// row: columns of so many limbs as the format has, or more.
    void start(const FixedPoint& format, int64_t k, int64_t row, int64_t* sums, int64_t* sizes);

    /// Brings them up to date with ids [n]; of fewer than all rows, makes them of these alone.
    void run(const std::vector<int32_t>& ids, int64_t first, int64_t count);

   private:
    struct Piece {
        int64_t cluster;
        int64_t begin; // in order_
        int64_t end;
        bool whole; // all entries of the cluster
    };

    /// Calls entry(cluster, point), or entry(cluster, ~point) for one taken away.
    template <class Entry>
    void for_each_entry(const std::vector<int32_t>& ids, bool moved_only, const Entry& entry) const;
    std::vector<Piece> sort(const std::vector<int32_t>& ids, bool moved_only);
    void add(const std::vector<Piece>& pieces);
    void sum(const Piece& piece, float* scratch, int64_t* sums) const;

    int64_t columns() const { return points_.d() + 1; } // the last one sums the weights

    const Points& points_;
    const float* weights_;
    FixedPoint format_;
    int64_t k_ = 0;
    int64_t row_ = 0;
    int64_t* sums_ = nullptr;       // [k x row]
    int64_t* sizes_ = nullptr;      // [k]
    std::vector<int32_t> previous_; // ids that the sums are of; empty where not of all rows
    int64_t first_ = 0;             // rows of the run
    int64_t end_ = 0;
    std::vector<int64_t> order_; // points of the entries
};

} // namespace faiss_flash::cpu
