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

/// Rows from a request for what they need to its use.
constexpr int64_t kAhead = 4;

constexpr int64_t kRowMultiple = ScoreKernel::kRowMultiple;

/// Rows that the kernels in float32 take at a time: 64 KiB at d = 128.
int64_t score_rows(int64_t d) {
    constexpr int64_t kFloats = 16384;
    return std::clamp<int64_t>(round_up(kFloats / d, kRowMultiple), 32, 256);
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
    list.settled += list.count;
    list.count = 0;
}

int64_t BlockAssigner::rows_per_block(int64_t n, const CentroidTable& table) {
    constexpr int64_t kLeast = 32;
    constexpr int64_t kMost = CodedRows::kMost;
    constexpr int64_t kFloats = 262144;
    constexpr int64_t kBlocks = 64;        // so many threads find work
    constexpr int64_t kProducts = 1 << 17; // about 10 us of one thread
    constexpr int64_t kRowCost = 16;       // of a row besides its centroids, in centroids
    const int64_t worth = kProducts / (table.d() * (table.k() + kRowCost));
    const int64_t wanted = std::max(n / kBlocks, worth);
    const int64_t rows = round_up(std::min(kFloats / table.d(), wanted), kLeast);
    return std::clamp(rows, kLeast, kMost);
}

BlockAssigner::BlockAssigner(
        const Points& points, const CentroidTable& table, const CodedPoints* coded)
    : points_(points), table_(table), coded_(coded) {
    const int64_t d = table.d();
    const int64_t most = std::min(rows_per_block(points.n(), table), points.n());
    raw_ = AlignedFloats(points.in_place() ? 0 : most * d);
    if (table.line()) {
        return;
    }
    const CentroidCell& cell = table.cells().front();
    if (!cell.narrow()) {
        const int64_t rows = round_up(most, cell.codes() ? cell.codes()->rows : kRowMultiple);
        lists_ = std::make_unique<Candidates[]>(static_cast<size_t>(rows));
        if (cell.codes()) {
            codes_.emplace(coded ? 0 : rows, d);
        } else {
            const int64_t scored = std::min(rows, score_rows(d));
            centred_ = AlignedFloats(scored * cell.packed().columns);
            workspace_ = AlignedFloats(scored * cell.kernel().workspace);
        }
    }
    if (table.cells().size() > 1) {
        const auto count = static_cast<size_t>(most);
        gathered_ = AlignedFloats(most * d);
        some_ids_.resize(count);
        some_values_.resize(count);
        home_.resize(count);
        possible_.resize(count * table.cells().size());
    }
}

BlockAssigner::Task BlockAssigner::Task::part(int64_t from, int64_t some) const {
    return {number + from,
            {block.row(from), block.stride},
            some,
            guesses ? guesses + from : nullptr,
            ids + from,
            values + from};
}

int64_t BlockAssigner::run(
        int64_t first, int64_t count, const int32_t* guesses, int32_t* ids, double* values) {
    const RowBlock block = points_.read(first, count, raw_.get());
    if (table_.line()) {
        table_.line()->assign(block.data, block.stride, count, ids, values);
        return 0; // float32 has no part in it
    }
    const Task task{first, block, count, guesses, ids, values};
    const int64_t decided =
            table_.cells().size() > 1 ? run_cells(task) : run_cell(table_.cells().front(), task);
    for (int64_t i = 0; i < count; i++) {
        if (!std::isfinite(values[i])) { // the row is not
            ids[i] = -1;
            values[i] = std::numeric_limits<double>::quiet_NaN();
        }
    }
    return decided;
}

int64_t BlockAssigner::run_cells(const Task& task) {
    const auto& [number, block, count, guesses, ids, values] = task;
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
            decided += run_some(g, task);
        }
    }
    return decided;
}

/// Takes the rows some_ of the block to a cell; those not at home there keep what is better.
int64_t BlockAssigner::run_some(size_t cell, const Task& task) {
    if (some_.empty()) {
        return 0;
    }
    const auto& [number, block, count, guesses, ids, values] = task;
    const int64_t d = table_.d();
    for (size_t i = 0; i < some_.size(); i++) {
        std::copy_n(block.row(some_[i]), d, gathered_.get() + static_cast<int64_t>(i) * d);
    }
    const int64_t decided = run_cell(
            table_.cells()[cell],
            {0,
             {gathered_.get(), d},
             static_cast<int64_t>(some_.size()),
             nullptr,
             some_ids_.data(),
             some_values_.data()});
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

int64_t BlockAssigner::run_cell(const CentroidCell& cell, const Task& task) {
    constexpr int64_t kFew = 2; // are measured as fast as scored
    int64_t decided = 0;
    if (cell.narrow()) {
        decided = cell.narrow()->assign(
                cell.narrow_centroids(),
                task.block.data,
                task.block.stride,
                task.count,
                task.ids,
                task.values);
    } else if (cell.size() > kFew) {
        if (cell.codes()) {
            return run_codes(cell, task);
        }
        const int64_t rows = score_rows(table_.d());
        for (int64_t i = 0; i < task.count; i += rows) {
            decided += run_scores(cell, task.part(i, std::min(rows, task.count - i)));
        }
        return decided;
    }
    for (int64_t i = 0; i < task.count; i++) {
        if (!cell.narrow() || task.ids[i] < 0) {
            const Nearest nearest = decide(cell, task.block.row(i));
            task.ids[i] = nearest.id;
            task.values[i] = nearest.value;
        }
    }
    return decided;
}

/// Of a row of this length: from where on its scores are looked at.
void BlockAssigner::begin(const CentroidCell& cell, const Task& task, int64_t row, float length) {
    Candidates& list = lists_[static_cast<size_t>(row)];
    list.count = 0;
    list.settled = 0;
    list.nearest = Nearest();
    if (!std::isfinite(length)) { // padding, a NaN, or beyond float32: no scores to look at
        list.bar = HUGE_VALF;
        return;
    }
    list.cell = &cell;
    list.row = task.block.row(row);
    list.common = cell.common_error(length);
    list.bar = -std::numeric_limits<float>::max();
    const auto guess = [&](int64_t i) {
        return task.guesses && i < task.count ? cell.place_of(task.guesses[i]) : -1;
    };
    if (const int32_t later = guess(row + kAhead); later >= 0) {
        cell.prefetch(later);
    }
    if (const int32_t place = guess(row); place >= 0) {
        cell.measure(list.row, &place, 1, list.nearest);
        raise(list, cell.sure_score(list.row, length, list.nearest));
    }
}

int64_t BlockAssigner::finish(const CentroidCell& cell, const Task& task) {
    int64_t decided = 0;
    for (int64_t i = 0; i < task.count; i++) {
        if (i + kAhead < task.count) {
            const Candidates& later = lists_[static_cast<size_t>(i + kAhead)];
            for (int32_t c = 0; c < later.count; c++) {
                if (later.bounds[c] >= later.bar) {
                    cell.prefetch(later.places[c]);
                }
            }
        }
        Candidates& list = lists_[static_cast<size_t>(i)];
        if (list.bar == HUGE_VALF) {
            list.nearest = decide(cell, task.block.row(i));
            candidates_ += cell.size();
        } else {
            prune(list);
            settle(list);
            candidates_ += list.settled;
        }
        task.ids[i] = list.nearest.id;
        task.values[i] = list.nearest.value;
        decided += list.nearest.contested ? 1 : 0;
    }
    return decided;
}

int64_t BlockAssigner::run_scores(const CentroidCell& cell, const Task& task) {
    const int64_t columns = cell.packed().columns;
    const int64_t rows = round_up(task.count, kRowMultiple);
    for (int64_t i = 0; i < rows; i++) {
        float* out = centred_.get() + i * columns;
        out[0] = i < task.count ? cell.center(task.block.row(i), out + 1) : HUGE_VALF;
        begin(cell, task, i, out[0]);
        if (!std::isfinite(out[0])) {
            std::fill_n(out, columns, 0.0f);
        }
    }
    cell.kernel().score(centred_.get(), rows, cell.packed(), workspace_.get(), lists_.get());
    return finish(cell, task);
}

int64_t BlockAssigner::run_codes(const CentroidCell& cell, const Task& task) {
    const CodeKernel& kernel = *cell.codes();
    for (int64_t i = 0; i < task.count && !coded_; i++) {
        codes_->encode(cell, i, task.block.row(i));
    }
    const CodedRows coded =
            coded_ ? coded_->read(task.number, task.count, *codes_) : codes_->rows();
    const int64_t rows = round_up(task.count, kernel.rows);
    for (int64_t i = 0; i < rows; i++) {
        if (i >= task.count || !cell.has_scores(coded.lengths[i])) {
            codes_->clear(i);
        }
        begin(cell, task, i, coded.lengths[i]);
    }
    kernel.score(coded, rows, cell.coded(), lists_.get());
    return finish(cell, task);
}

/// A row with more candidates than one in 32 of the centroids costs what its scores in float32
/// would. The rows tried are spread over all.
bool codes_pay(const Points& points, const CentroidTable& table, const int32_t* guesses) {
    constexpr int64_t kTried = 32;
    constexpr int64_t kShare = 32;
    const int64_t count = std::min(kTried, points.n());
    std::vector<float> rows(static_cast<size_t>(count * points.d()));
    std::vector<int32_t> ids(static_cast<size_t>(count), -1);
    for (int64_t i = 0; i < count; i++) {
        const int64_t row = i * points.n() / count;
        points.copy_row(row, rows.data() + i * points.d());
        if (guesses) {
            ids[static_cast<size_t>(i)] = guesses[row];
        }
    }
    const Points tried(VectorView::of(rows.data(), count, points.d()));
    std::vector<double> values(ids.size());
    BlockAssigner assigner(tried, table);
    assigner.run(0, count, ids.data(), ids.data(), values.data());
    return assigner.candidates() * kShare <= count * table.cells().front().size();
}

const CodeKernel* code_kernel_for(int64_t n, int64_t k, int64_t d) {
    const CodeKernel* codes = code_kernel();
    return codes && CodeKernel::pays(n, k, d) ? codes : nullptr;
}

CentroidTable table_for(
        const Points& points,
        const float* centroids,
        int64_t k,
        Metric metric,
        const int32_t* guesses,
        const Frame* frame) {
    const int64_t d = points.d();
    if (const CodeKernel* codes = code_kernel_for(points.n(), k, d)) {
        CentroidTable table(centroids, k, d, metric, score_kernel(), narrow_kernel(), codes, frame);
        if (!table.coded() || codes_pay(points, table, guesses)) {
            return table;
        }
    }
    return {centroids, k, d, metric};
}

} // namespace faiss_flash::cpu
