/// The rows of each cluster added up on the device, in fixed point (core/fixed_point.h): the same
/// bits as the CPU backend's in any order of addition.
#pragma once

#include <faiss_flash/core/shard.h>
#include <faiss_flash/cuda/runtime/arena.h>
#include <faiss_flash/cuda/update/moved.h>
#include <faiss_flash/cuda/update/sort.h>
#include <faiss_flash/cuda/update/sum_format.h>

#include <cstdint>
#include <optional>

namespace faiss_flash::cuda {

class ClusterSums {
   public:
    /// weights [n] of one problem's rows (null = all 1), on the device; they, the rows and
    /// the format must outlive this.
    /// @param most  rows of a problem that are added up at a time: all, or of one problem fewer
    ClusterSums(
            const DeviceRows& rows,
            int64_t most,
            const float* weights,
            const SumFormat& format,
            Arena& arena);

    /// Zeros everywhere, and the rows' squares; before anything else.
    void start(cudaStream_t stream);

    /// ids of the rows [batch x count] of 0 .. k - 1; others are counted and leave the sums
    /// meaningless. Of all rows, reads those of points that moved since the last run only, where
    /// these are few.
    Sums run(const RowRange& rows, const int32_t* ids, cudaStream_t stream);

    /// [batch x square_limbs x d]
    Sums squares() const;

    /// Parts of the sums that an assignment adds to: [batch], and of weighted rows.
    IterationCounts* counts() const;
    LongSum* values() const;

   private:
    void
    sum(const DeviceRows& rows, const float* weights, const Entries& entries, cudaStream_t stream);

    const DeviceRows rows_;
    const int64_t most_;
    const float* const weights_;
    const SumFormat& format_;
    /// Where the sums are those of the last run, or more rows are sorted than a short sort takes.
    /// None of a short sort and of few rows, whose sums are zeros between runs, as are those of
    /// fewer than all rows: who reads them clears them.
    std::optional<MovedPoints> moved_;
    std::optional<EntryOrder> order_; ///< none of few rows
    int64_t* sums_;                   ///< in format.sums
    int64_t* squares_; ///< [batch x square_limbs x d]; null unless the format has them
};

} // namespace faiss_flash::cuda
