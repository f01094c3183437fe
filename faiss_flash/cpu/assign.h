/// Exact assignment of blocks of points.
#pragma once

#include <faiss_flash/core/points.h>
#include <faiss_flash/cpu/aligned.h>
#include <faiss_flash/cpu/centroid_table.h>

#include <cstdint>
#include <vector>

namespace faiss_flash::cpu {

/// One thread's assigner. IO a block: its points once, all centroids once from a cache; FLOPs
/// 2 * rows * k * d in float32, plus d in float64 for each point and each candidate left.
///
/// Rows that are short enough go to a kernel of their own (narrow.h). For all others:
/// 1. Points are centred and scaled, and each gets the margin that its scores need.
/// 2. The score kernel streams the centroids and leaves each point's candidates.
/// 3. One candidate left: certified. Several: float64 decides, ties to the lowest id. Too many, or
///    numbers beyond float32: float64 over all centroids.
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
    int64_t run_narrow(const RowBlock& block, int64_t count, int32_t* ids, double* values) const;
    int64_t run_scores(const RowBlock& block, int64_t count, int32_t* ids, double* values);
    bool resolve(const float* x, Candidates& list, int32_t& id, double& value) const;
    /// By float64 over all centroids; false, with the id -1, for a row with a NaN or an Inf.
    bool decide(const float* x, int32_t& id, double& value) const;

    const Points& points_;
    const CentroidTable& table_;
    std::vector<float> raw_; // rows as float32 where they must be converted
    AlignedFloats centred_;
    AlignedFloats workspace_;
    std::vector<Candidates> lists_;
};

} // namespace faiss_flash::cpu
