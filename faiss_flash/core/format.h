/// What all shards of a clustering agree on before the first iteration.
#pragma once

#include <faiss_flash/core/fixed_point.h>
#include <faiss_flash/kmeans.h>

#include <cstdint>
#include <vector>

namespace faiss_flash {

/// Problems of equal n, d and k that are clustered together.
struct Workload {
    int64_t batch, n, d, k; ///< n: rows of a problem, over all shards
    Metric metric;
    DType dtype;
    Precision precision;
    bool weighted;                         ///< batch is 1, then
    bool decoded;                          ///< rows come from a decoder
    MemorySpace space = MemorySpace::host; ///< where the rows are
    int64_t memory_limit = 0;              ///< KMeansOptions'
    int64_t batch_rows = 0; ///< of e-means: the most rows that are assigned at a time

    /// Rows of a problem that are assigned at a time.
    int64_t assigned() const { return batch_rows > 0 ? batch_rows : n; }

    /// Of the rows as they are read: decoders make float32.
    DType row_type() const { return decoded ? DType::f32 : dtype; }
};

/// Of `batch` problems of n training points each, such as these.
Workload workload_of(
        const VectorView& points,
        bool weighted,
        int64_t batch,
        int64_t n,
        int64_t k,
        const KMeansOptions& options);

/// What one pass over a shard's rows finds, of each problem: the range of weight * x in every of
/// d columns, and of the weights themselves in column d. A column with a NaN or an Inf may have an
/// infinite one.
using RowFacts = std::vector<ColumnRange>;

/// False where a range is infinite.
bool all_finite(const RowFacts& facts);

/// Those of two shards' rows together.
void merge(RowFacts& facts, const RowFacts& others);

/// The integers that rows are summed up in. Sums of equal formats add up.
struct Format {
    RowFacts facts;                  ///< of all shards
    std::vector<FixedPoint> columns; ///< [batch] of weight * x, and of the weights
    std::vector<FixedPoint> squares; ///< [batch] of x^2; empty unless l2 without weights
    int limbs = 1;                   ///< the most of all problems' columns: others' last are zeros
    int square_limbs = 1;            ///< the same of their squares

    static Format plan(RowFacts facts, const Workload& workload);
};

} // namespace faiss_flash
