/// The centroid update on the device: weighted means by fixed-point sums (core/fixed_point.h), the
/// same bits as the CPU backend's in any order of addition.
#pragma once

#include <faiss_flash/core/double_double.h>
#include <faiss_flash/core/fixed_point.h>
#include <faiss_flash/cuda/runtime/arena.h>
#include <faiss_flash/cuda/runtime/buffer.h>
#include <faiss_flash/cuda/update/layout.h>
#include <faiss_flash/cuda/update/moved.h>
#include <faiss_flash/cuda/update/sort.h>
#include <faiss_flash/kmeans.h>

#include <cstdint>
#include <vector>

namespace faiss_flash::cuda {

/// Rows of one or more problems on the device, one problem after the other.
struct UpdateRows {
    const void* data;
    DType dtype; ///< f32, f16 or bf16
    int64_t batch, n, d;
    int64_t row_bytes; ///< from row to row
};

class CentroidUpdate {
   public:
    /// weights [n] of one problem's float32 rows (null = all 1), on the device; all must be finite
    /// and outlive the update. Unless rows are f16, waits for the device: the scales are planned on
    /// the host.
    /// squares: [batch] on the device, filled with the rows' sums of squares, or null.
    CentroidUpdate(
            const UpdateRows& rows,
            const float* weights,
            DoubleDouble* squares,
            cudaStream_t stream);

    /// Takes the memory that run() needs for k clusters a problem.
    void reserve(int64_t k, cudaStream_t stream);

    /// Bytes of device memory that one takes, with sums of this many limbs.
    static int64_t bytes(int64_t batch, int64_t n, int64_t d, int64_t k, int limbs);

    int limbs() const { return limbs_; }
    /// The largest magnitude among the rows of all problems; that of the type where nothing was
    /// looked at (f16).
    double largest() const { return largest_; }

    /// Device arrays that run() fills.
    struct Output {
        int64_t* sizes;  ///< [batch x k]
        double* weights; ///< [batch x k] sums of weights; equal to sizes without weights
        float* means;    ///< [batch x k x d] zeros where the weight is 0
        DoubleDouble* gains = nullptr; ///< [batch x k], or null: see Gains
    };

    /// What clusters add to the objective (core/objective.h), with centroids [batch x k x d] that
    /// the ids were found for.
    struct Gains {
        const float* centroids = nullptr;
        Metric metric = Metric::l2;
    };

    /// ids [batch x n]: of 0 .. k - 1, the k of the last reserve(); others are counted in
    /// counts [batch] and leave the output meaningless. Reads the rows of points that moved since
    /// the last run only, where these are few. Allocates nothing.
    void run(
            const int32_t* ids,
            IterationCounts* counts,
            const Output& output,
            const Gains& gains,
            cudaStream_t stream);

   private:
    /// Of each problem's columns, the weights' last.
    std::vector<ColumnRange> find_ranges(cudaStream_t stream) const;
    void plan(DoubleDouble* squares, cudaStream_t stream);
    void sum(const Entries& entries, cudaStream_t stream);

    UpdateRows rows_;
    const float* weights_;
    int limbs_ = 1; ///< of sums: see FixedPoint
    int limb_bits_ = 0;
    double largest_ = 0;
    bool in_float_ = false; ///< sums by float32 arithmetic are exact
    bool vectors_ = false;  ///< rows can be read 16 bytes at a time
    SumLayout layout_;
    Buffer<double> units_; ///< [batch x (d + 1)] 1 / scale of the first limb
    Buffer<float> scale_;  ///< [batch x (d + 1)] of the upper piece of the first limb
    bool keeps_ = false;   ///< sums are those of the last run; else they are zeros between runs
    Arena arena_;          ///< of the two that follow
    MovedPoints moved_;
    EntryOrder order_;
    Buffer<unsigned long long> sums_;   ///< [batch x k x limbs x places]
    Buffer<unsigned long long> counts_; ///< [batch x k]
    int64_t k_ = 0;
};

} // namespace faiss_flash::cuda
