/// Exact assignment of blocks of points, and of all of them.
#pragma once

#include <faiss_flash/core/linear_algebra.h>
#include <faiss_flash/core/parallel.h>
#include <faiss_flash/core/points.h>
#include <faiss_flash/cpu/aligned.h>
#include <faiss_flash/cpu/centroid_table.h>
#include <faiss_flash/cpu/coded_points.h>

#include <algorithm>
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

namespace faiss_flash::cpu {

/// One thread's assigner. IO a block: its points once, all centroids once from a cache; FLOPs
/// 2 * rows * k * d in 8 bits or in float32, plus d in float64 for each point and each candidate
/// left.
///
/// Points on a line have a method of their own (line.h), and rows that are short enough a kernel
/// (narrow.h). For all others:
/// 1. Points are centred and scaled, and their lengths say what errors their scores can have.
/// 2. The score kernel, in 8 bits (codes.h) or in float32 (scores.h), streams the centroids and
///    leaves each point's candidates: fewer come by where a guess says what the best has to beat.
/// 3. One candidate left: certified. Several: float64 decides, ties to the lowest id.
///    Numbers beyond float32: float64 over all centroids.
/// Where the centroids are in several cells, a point goes to the nearest of them first, and then to
/// those that may hold a better centroid than it found.
class BlockAssigner {
   public:
    /// Points a block, of n: 256, fewer where n is small or rows are long (1 MiB of float32), but
    /// enough to be worth a thread.
    static int64_t rows_per_block(int64_t n, const CentroidTable& table);

    /// @param coded  the points, in the table's frame; or null: blocks are coded as they come
    BlockAssigner(
            const Points& points, const CentroidTable& table, const CodedPoints* coded = nullptr);

    /// Points first .. first + count - 1, count <= rows_per_block(n, table).
    /// @param guesses  [count] centroids that may be the best, any id or -1; or null: what is found
    ///                 does not depend on them
    /// @param ids      [count] best centroid, -1 for a point with a NaN or an Inf
    /// @param values   [count] squared distance or product in float64, NaN where the id is -1
    /// @return         points that float64 decided
    int64_t run(int64_t first, int64_t count, const int32_t* guesses, int32_t* ids, double* values);

    /// Of the rows so far: the centroids that scores left, all of them where there were none.
    int64_t candidates() const { return candidates_; }

   private:
    /// Some rows, what is guessed of them, and where results go.
    struct Task {
        int64_t number; // of the first row among the points
        RowBlock block;
        int64_t count;
        const int32_t* guesses;
        int32_t* ids;
        double* values;

        Task part(int64_t from, int64_t some) const;
    };
    int64_t run_cells(const Task& task);
    int64_t run_some(size_t cell, const Task& task);
    int64_t run_cell(const CentroidCell& cell, const Task& task);
    int64_t run_scores(const CentroidCell& cell, const Task& task);
    int64_t run_codes(const CentroidCell& cell, const Task& task);
    void begin(const CentroidCell& cell, const Task& task, int64_t row, float length);
    int64_t finish(const CentroidCell& cell, const Task& task);

    const Points& points_;
    const CentroidTable& table_;
    const CodedPoints* const coded_;
    AlignedFloats raw_; // rows as float32 where they must be converted
    AlignedFloats centred_;
    AlignedFloats workspace_;
    std::optional<CodedBlock> codes_;
    std::unique_ptr<Candidates[]> lists_;
    int64_t candidates_ = 0;

    // Of several cells: the rows that go to one of them, and what they find there.
    AlignedFloats gathered_;
    std::vector<int64_t> some_;
    std::vector<int32_t> some_ids_;
    std::vector<double> some_values_;
    std::vector<double> possible_; // [rows x cells] best values
    std::vector<size_t> home_;     // [rows] the cell where the best of these is
};

/// Whether the table's scores in 8 bits leave few candidates: of some of the points, tried out.
/// @param guesses  [n] or null, as in BlockAssigner::run
bool codes_pay(const Points& points, const CentroidTable& table, const int32_t* guesses);

/// Where scores in 8 bits are faster, or null.
const CodeKernel* code_kernel_for(int64_t n, int64_t k, int64_t d);

/// Of centroids [k x d], as suits the points.
/// @param guesses  [n] of BlockAssigner::run, or null
/// @param frame    of points that were coded before, or null
CentroidTable table_for(
        const Points& points,
        const float* centroids,
        int64_t k,
        Metric metric,
        const int32_t* guesses = nullptr,
        const Frame* frame = nullptr);

/// Assigns all points in parallel; store(block, first, count, ids, values, decided) takes a block's
/// results, from several threads.
/// @param guesses  [n] of BlockAssigner::run, or null
/// @param coded    of BlockAssigner, or null
template <class Store>
void assign_all(
        const Points& points,
        const CentroidTable& table,
        const int32_t* guesses,
        const CodedPoints* coded,
        const Store& store) {
    const SingleThreadedBlas single;
    const int64_t rows = BlockAssigner::rows_per_block(points.n(), table);
    for_each_block((points.n() + rows - 1) / rows, [&] {
        return [&,
                assigner = BlockAssigner(points, table, coded),
                ids = std::vector<int32_t>(static_cast<size_t>(rows)),
                values = std::vector<double>(static_cast<size_t>(rows))](int64_t block) mutable {
            const int64_t first = block * rows;
            const int64_t count = std::min(rows, points.n() - first);
            const int64_t decided = assigner.run(
                    first, count, guesses ? guesses + first : nullptr, ids.data(), values.data());
            store(block, first, count, ids.data(), values.data(), decided);
        };
    });
}

} // namespace faiss_flash::cpu
