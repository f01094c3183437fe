#include <faiss_flash/cpu/assign.h>

#include <algorithm>
#include <cmath>
#include <limits>

namespace faiss_flash::cpu {

namespace {

int64_t round_up(int64_t value, int64_t multiple) {
    return (value + multiple - 1) / multiple * multiple;
}

} // namespace

int64_t BlockAssigner::rows_per_block(int64_t d) {
    constexpr int64_t kBlockFloats = 16384;
    const int64_t rows = round_up(kBlockFloats / d, ScoreKernel::kRowMultiple);
    return std::max<int64_t>(32, std::min<int64_t>(rows, 256));
}

BlockAssigner::BlockAssigner(const Points& points, const CentroidTable& table)
    : points_(points), table_(table) {
    const int64_t rows =
            round_up(std::min(rows_per_block(table.d()), points.n()), ScoreKernel::kRowMultiple);
    raw_.resize(static_cast<size_t>(rows * table.d()));
    if (table.narrow()) {
        return;
    }
    centred_ = AlignedFloats(rows * table.d());
    workspace_ = AlignedFloats(table.kernel().workspace(rows, table.packed()));
    lists_.resize(static_cast<size_t>(rows));
}

int64_t BlockAssigner::run(int64_t first, int64_t count, int32_t* ids, double* values) {
    const RowBlock block = points_.read(first, count, raw_.data());
    return table_.narrow() ? run_narrow(block, count, ids, values)
                           : run_scores(block, count, ids, values);
}

int64_t BlockAssigner::run_narrow(
        const RowBlock& block, int64_t count, int32_t* ids, double* values) const {
    int64_t decided = table_.narrow()->assign(
            table_.narrow_centroids(), block.data, block.stride, count, ids, values);
    for (int64_t i = 0; i < count; i++) {
        if (ids[i] < 0 && !decide(block.row(i), ids[i], values[i])) {
            decided--;
        }
    }
    return decided;
}

int64_t BlockAssigner::run_scores(
        const RowBlock& block, int64_t count, int32_t* ids, double* values) {
    const int64_t d = table_.d();
    const int64_t rows = round_up(count, ScoreKernel::kRowMultiple);
    for (int64_t i = 0; i < rows; i++) {
        float* out = centred_.get() + i * d;
        Candidates& list = lists_[static_cast<size_t>(i)];
        const double length = i < count ? table_.center(block.row(i), out)
                                        : std::numeric_limits<double>::infinity();
        const float margin = table_.margin(length);
        reset(list, margin);
        if (!std::isfinite(margin)) { // padding, a NaN, or beyond float32: no scores to look at
            std::fill_n(out, d, 0.0f);
            list.overflow = true;
        }
    }
    table_.kernel().score(centred_.get(), rows, table_.packed(), workspace_.get(), lists_.data());
    int64_t decided = 0;
    for (int64_t i = 0; i < count; i++) {
        decided += resolve(block.row(i), lists_[static_cast<size_t>(i)], ids[i], values[i]);
    }
    return decided;
}

/// Returns whether more than one centroid had to be looked at.
bool BlockAssigner::resolve(const float* x, Candidates& list, int32_t& id, double& value) const {
    if (!list.overflow) {
        prune(list);
        id = list.ids[0];
        value = table_.exact(x, id);
        for (int32_t c = 1; c < list.count; c++) {
            const double other = table_.exact(x, list.ids[c]);
            if (table_.better(other, value)) {
                value = other;
                id = list.ids[c];
            }
        }
        return list.count > 1;
    }
    return decide(x, id, value);
}

bool BlockAssigner::decide(const float* x, int32_t& id, double& value) const {
    if (!row_ops().all_finite(x, table_.d())) {
        id = -1;
        value = std::numeric_limits<double>::quiet_NaN();
        return false;
    }
    id = 0;
    value = table_.exact(x, 0);
    for (int64_t c = 1; c < table_.k(); c++) {
        const double other = table_.exact(x, c);
        if (table_.better(other, value)) {
            value = other;
            id = static_cast<int32_t>(c);
        }
    }
    return true;
}

} // namespace faiss_flash::cpu
