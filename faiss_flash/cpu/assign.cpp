#include <faiss_flash/cpu/assign.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

namespace faiss_flash::cpu {

namespace {

int64_t round_up(int64_t value, int64_t multiple) {
    return (value + multiple - 1) / multiple * multiple;
}

/// By float64 over all centroids of a cell.
Nearest decide(const CentroidCell& cell, const float* x) {
    Nearest nearest;
    for (int64_t first = 0; first < cell.size(); first += Candidates::kCapacity) {
        int32_t few[Candidates::kCapacity];
        const int64_t count = std::min<int64_t>(Candidates::kCapacity, cell.size() - first);
        std::iota(few, few + count, static_cast<int32_t>(first));
        cell.measure(x, few, count, nearest);
    }
    return nearest;
}

} // namespace

void settle(Candidates& list) {
    list.cell->measure(list.row, list.places, list.count, list.nearest);
    list.count = 0;
}

int64_t BlockAssigner::rows_per_block(int64_t d) {
    constexpr int64_t kBlockFloats = 16384;
    const int64_t rows = round_up(kBlockFloats / d, ScoreKernel::kRowMultiple);
    return std::max<int64_t>(32, std::min<int64_t>(rows, 256));
}

BlockAssigner::BlockAssigner(const Points& points, const CentroidTable& table)
    : points_(points), table_(table) {
    const int64_t rows =
            round_up(std::min(rows_per_block(table.d()), points.n()), ScoreKernel::kRowMultiple);
    raw_ = AlignedFloats(rows * table.d());
    if (table.line()) {
        return;
    }
    const CentroidCell& cell = table.cells().front();
    if (!cell.narrow()) {
        centred_ = AlignedFloats(rows * cell.packed().columns);
        workspace_ = AlignedFloats(rows * cell.kernel().workspace);
        lists_ = std::make_unique<Candidates[]>(static_cast<size_t>(rows));
    }
    if (table.cells().size() > 1) {
        const auto count = static_cast<size_t>(rows);
        gathered_ = AlignedFloats(rows * table.d());
        some_ids_.resize(count);
        some_values_.resize(count);
        home_.resize(count);
        possible_.resize(count * table.cells().size());
    }
}

int64_t BlockAssigner::run(int64_t first, int64_t count, int32_t* ids, double* values) {
    const RowBlock block = points_.read(first, count, raw_.get());
    if (table_.line()) {
        table_.line()->assign(block.data, block.stride, count, ids, values);
        return 0; // float32 has no part in it
    }
    const int64_t decided = table_.cells().size() > 1
                                    ? run_cells(block, count, ids, values)
                                    : run_cell(table_.cells().front(), block, count, ids, values);
    for (int64_t i = 0; i < count; i++) {
        if (!std::isfinite(values[i])) { // the row is not
            ids[i] = -1;
            values[i] = std::numeric_limits<double>::quiet_NaN();
        }
    }
    return decided;
}

int64_t BlockAssigner::run_cells(
        const RowBlock& block, int64_t count, int32_t* ids, double* values) {
    const size_t cells = table_.cells().size();
    for (int64_t i = 0; i < count; i++) {
        double* possible = possible_.data() + static_cast<size_t>(i) * cells;
        size_t& home = home_[static_cast<size_t>(i)];
        home = 0;
        for (size_t g = 0; g < cells; g++) {
            possible[g] = table_.best_possible(block.row(i), g);
            home = table_.better(possible[g], possible[home]) ? g : home;
        }
    }
    int64_t decided = 0;
    for (const bool at_home : {true, false}) {
        for (size_t g = 0; g < cells; g++) {
            some_.clear();
            for (int64_t i = 0; i < count; i++) {
                const auto at = static_cast<size_t>(i);
                const bool hopeless =
                        !at_home && table_.better(values[i], possible_[at * cells + g]);
                if ((home_[at] == g) == at_home && !hopeless) {
                    some_.push_back(i);
                }
            }
            decided += run_some(g, block, ids, values);
        }
    }
    return decided;
}

/// Takes the rows some_ of the block to a cell; those not at home there keep what is better.
int64_t BlockAssigner::run_some(size_t cell, const RowBlock& block, int32_t* ids, double* values) {
    if (some_.empty()) {
        return 0;
    }
    const int64_t d = table_.d();
    for (size_t i = 0; i < some_.size(); i++) {
        std::copy_n(block.row(some_[i]), d, gathered_.get() + static_cast<int64_t>(i) * d);
    }
    const int64_t decided = run_cell(
            table_.cells()[cell],
            {gathered_.get(), d},
            static_cast<int64_t>(some_.size()),
            some_ids_.data(),
            some_values_.data());
    for (size_t i = 0; i < some_.size(); i++) {
        const int64_t row = some_[i];
        const bool first = home_[static_cast<size_t>(row)] == cell;
        const bool tie = some_values_[i] == values[row] && some_ids_[i] < ids[row];
        if (first || tie || table_.better(some_values_[i], values[row])) {
            ids[row] = some_ids_[i];
            values[row] = some_values_[i];
        }
    }
    return decided;
}

int64_t BlockAssigner::run_cell(
        const CentroidCell& cell,
        const RowBlock& block,
        int64_t count,
        int32_t* ids,
        double* values) {
    constexpr int64_t kFew = 2; // are measured as fast as scored
    int64_t decided = 0;
    if (cell.narrow()) {
        decided = cell.narrow()->assign(
                cell.narrow_centroids(), block.data, block.stride, count, ids, values);
    } else if (cell.size() > kFew) {
        return run_scores(cell, block, count, ids, values);
    }
    for (int64_t i = 0; i < count; i++) {
        if (!cell.narrow() || ids[i] < 0) {
            const Nearest nearest = decide(cell, block.row(i));
            ids[i] = nearest.id;
            values[i] = nearest.value;
        }
    }
    return decided;
}

int64_t BlockAssigner::run_scores(
        const CentroidCell& cell,
        const RowBlock& block,
        int64_t count,
        int32_t* ids,
        double* values) {
    const int64_t columns = cell.packed().columns;
    const int64_t rows = round_up(count, ScoreKernel::kRowMultiple);
    for (int64_t i = 0; i < rows; i++) {
        float* out = centred_.get() + i * columns;
        Candidates& list = lists_[static_cast<size_t>(i)];
        list.cell = &cell;
        list.row = block.row(std::min(i, count - 1));
        list.count = 0;
        list.nearest = Nearest();
        out[0] = i < count ? cell.center(list.row, out + 1) : HUGE_VALF;
        list.common = cell.common_error(out[0]);
        list.bar = -std::numeric_limits<float>::max();
        if (!std::isfinite(out[0])) { // padding, a NaN, or beyond float32: no scores to look at
            std::fill_n(out, columns, 0.0f);
            list.bar = HUGE_VALF;
        }
    }
    cell.kernel().score(centred_.get(), rows, cell.packed(), workspace_.get(), lists_.get());
    int64_t decided = 0;
    for (int64_t i = 0; i < count; i++) {
        Candidates& list = lists_[static_cast<size_t>(i)];
        if (list.bar == HUGE_VALF) {
            list.nearest = decide(cell, list.row);
        } else {
            prune(list);
            settle(list);
        }
        ids[i] = list.nearest.id;
        values[i] = list.nearest.value;
        decided += list.nearest.measured > 1;
    }
    return decided;
}

} // namespace faiss_flash::cpu
