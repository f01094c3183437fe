#include <faiss_flash/core/format.h>

#include <faiss_flash/core/objective.h>

#include <algorithm>
#include <utility>

namespace faiss_flash {

Workload workload_of(
        const VectorView& points,
        bool weighted,
        int64_t batch,
        int64_t n,
        int64_t k,
        const KMeansOptions& options) {
    return {batch,
            n,
            points.d,
            k,
            options.metric,
            points.dtype,
            options.precision,
            weighted,
            points.decoder != nullptr,
            points.space};
}

void merge(RowFacts& facts, const RowFacts& others) {
    for (size_t b = 0; b < facts.size(); b++) {
        facts[b].merge(others[b]);
    }
}

Format Format::plan(RowFacts facts, const Workload& workload) {
    Format format;
    for (const ColumnRange& range : facts) {
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
