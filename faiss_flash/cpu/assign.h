/// Exact assignment of blocks of points.
#pragma once

#include <faiss_flash/core/points.h>
#include <faiss_flash/cpu/aligned.h>
#include <faiss_flash/cpu/centroid_table.h>

#include <cstdint>
#include <memory>
#include <vector>

namespace faiss_flash::cpu {

/// One thread's assigner. IO a block: its points once, all centroids once from a cache; FLOPs
/// 2 * rows * k * d in float32, plus d in float64 for each point and each candidate left.
///
/// Points on a line have a method of their own (line.h), and rows that are short enough a kernel
/// (narrow.h). For all others:
/// 1. Points are centred and scaled, and their lengths say what errors their scores can have.
/// 2. The score kernel streams the centroids and leaves each point's candidates.
/// 3. One candidate left: certified. Several: float64 decides, ties to the lowest id. Numbers
/// beyond
///    float32: float64 over all centroids.
/// Where the centroids are in several cells, a point goes to the nearest of them first, and then to
/// those that may hold a better centroid than it found.
class BlockAssigner {
   public:
    /// Points a block: 64 KiB at d = 128.
    static int64_t rows_per_block(int64_t d);

    BlockAssigner(const Points& points, const CentroidTable& table);

    /// Points first .. first + count - 1, count <= rows_per_block(d).
    /// @param ids     [count] best centroid, -1 for a point with a NaN or an Inf
    /// @param values  [count] squared distance or product in float64, NaN where the id is -1
    /// @return        points that float64 decided
    int64_t run(int64_t first, int64_t count, int32_t* ids, double* values);

   private:
    int64_t run_cells(const RowBlock& block, int64_t count, int32_t* ids, double* values);
    int64_t run_some(size_t cell, const RowBlock& block, int32_t* ids, double* values);
    int64_t run_cell(
            const CentroidCell& cell,
            const RowBlock& block,
            int64_t count,
            int32_t* ids,
            double* values);
    int64_t run_scores(
            const CentroidCell& cell,
            const RowBlock& block,
            int64_t count,
            int32_t* ids,
            double* values);

    const Points& points_;
    const CentroidTable& table_;
    AlignedFloats raw_; // rows as float32 where they must be converted
    AlignedFloats centred_;
    AlignedFloats workspace_;
    std::unique_ptr<Candidates[]> lists_;

    // Of several cells: the rows that go to one of them, and what they find there.
    AlignedFloats gathered_;
    std::vector<int64_t> some_;
    std::vector<int32_t> some_ids_;
    std::vector<double> some_values_;
    std::vector<double> possible_; // [rows x cells] best values
    std::vector<size_t> home_;     // [rows] the cell where the best of these is
};

} // namespace faiss_flash::cpu
