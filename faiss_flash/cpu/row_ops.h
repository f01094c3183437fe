/// Loops over one row, compiled once per instruction set from row_ops.cpp.
///
/// All variants give the same bits: sums run in eight interleaved lanes that are added pairwise at
/// the end, without contraction into FMA. A GPU can follow the order of the float64 sums.
#pragma once

#include <faiss_flash/core/double_double.h>

#include <cstdint>

namespace faiss_flash {
struct FixedPoint;
} // namespace faiss_flash

namespace faiss_flash::cpu {

struct RowOps {
    const char* isa;

    /// out[j] = (x[j] - middle[j]) * scale; returns out's squared length, summed up in float32.
    float (*center)(const float* x, const float* middle, float scale, int64_t d, float* out);

    /// The largest |x[j] - middle[j]| / 2.
    float (*half_reach)(const float* x, const float* middle, int64_t d);

    /// Equal for rows that are equal, 0 and -0 included.
    uint64_t (*hash)(const float* x, int64_t d);

    bool (*all_finite)(const float* x, int64_t d);

    /// Squared distance, in float32.
    float (*rough_distance)(const float* a, const float* b, int64_t d);

    /// Squared distance and product in float64.
    double (*squared_distance)(const float* a, const float* b, int64_t d);
    double (*dot)(const float* a, const float* b, int64_t d);

    /// Widens the ranges [d] of magnitudes by weight * x.
    void (*widen_range)(
            const float* x, double weight, int64_t d, double* largest, double* smallest);

    /// Adds weight * x [d] to the fixed-point sums of format's columns first_column .. + d - 1;
    /// limb l of the j-th of them is sums[l * stride + j].
    void (*accumulate)(
            const float* x,
            double weight,
            const FixedPoint& format,
            int64_t first_column,
            int64_t d,
            int64_t* sums,
            int64_t stride);

    /// Adds x^2 [d] to sums [limbs x d] in the format.
    void (*accumulate_squares)(const float* x, const FixedPoint& format, int64_t d, int64_t* sums);

    /// Of a cluster of this weight with these sums in the format, l-th limbs from sums + l * stride
    /// on: its mean [d], zeros without weight, or where values is not null, the sums' values [d].
    /// Returns what it adds to the objective (core/objective.h), or 0 without a centroid; weights
    /// are all 1 else.
    DoubleDouble (*finish)(
            bool l2,
            const float* centroid,
            double weight,
            const FixedPoint& format,
            int64_t d,
            const int64_t* sums,
            int64_t stride,
            float* mean,
            double* values);
};

/// The fastest variant this CPU can run.
const RowOps& row_ops();

/// Every variant this CPU can run, fastest first.
int row_ops_variants(const RowOps** variants, int capacity);

} // namespace faiss_flash::cpu
