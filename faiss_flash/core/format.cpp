#include <faiss_flash/core/format.h>

#include <faiss_flash/core/objective.h>

#include <algorithm>
#include <cmath>
#include <utility>

namespace faiss_flash {

namespace {

/// How much closer a value's last bit is to its first than in a float32. Products with weights have
/// more bits.
int missing_bits(const Workload& workload) {
    const DType type = workload.row_type();
    if (workload.weighted || type == DType::f32) {
        return 0;
    }
    return type == DType::f16 ? 13 : 16; // of bf16, and of bytes: 8 bits are left
}

} // namespace

Workload workload_of(
        const VectorView& points,
        bool weighted,
        int64_t batch,
        int64_t n,
        int64_t k,
        const KMeansOptions& options) {
    const bool in_batches = options.algorithm == Algorithm::e_means;
    return {batch,
            n,
            points.d,
            k,
            options.metric,
            points.dtype,
            options.precision,
            weighted,
            points.decoder != nullptr,
            points.space,
            options.memory_limit,
            in_batches ? e_means_recipe(n, k, options).batch_size : 0};
}

bool all_finite(const RowFacts& facts) {
    return std::all_of(facts.begin(), facts.end(), [](const ColumnRange& range) {
        const auto& largest = range.largest;
        return std::all_of(
                largest.begin(), largest.end(), [](double value) { return std::isfinite(value); });
    });
}

void merge(RowFacts& facts, const RowFacts& others) {
    for (size_t b = 0; b < facts.size(); b++) {
        facts[b].merge(others[b]);
    }
}

Format Format::plan(RowFacts facts, const Workload& workload) {
    Format format;
    for (const ColumnRange& found : facts) {
        ColumnRange range = found;
        for (double& smallest : range.smallest) {
            smallest = std::ldexp(smallest, missing_bits(workload));
        }
        format.columns.push_back(FixedPoint::plan(range, workload.n));
        format.limbs = std::max(format.limbs, format.columns.back().limbs);
        if (workload.metric == Metric::l2 && !workload.weighted) {
            const ColumnRange squares = squares_of(range, workload.d);
            format.squares.push_back(FixedPoint::plan(squares, workload.n));
            format.square_limbs = std::max(format.square_limbs, format.squares.back().limbs);
        }
    }
    format.facts = std::move(facts);
    return format;
}

} // namespace faiss_flash
