#include <faiss_flash/cpu/shard.h>

#include <faiss_flash/core/parallel.h>
#include <faiss_flash/cpu/assign.h>
#include <faiss_flash/cpu/centroids.h>
#include <faiss_flash/cpu/cluster_sums.h>

#include <algorithm>
#include <functional>
#include <iterator>
#include <numeric>
#include <optional>
#include <string>

namespace faiss_flash::cpu {

namespace {

/// Short rows that lie far apart, brought together: every iteration reads them, and each costs a
/// cache line. All others stay where they are.
class PackedRows {
   public:
    explicit PackedRows(const Points& points) {
        const VectorView& view = points.view();
        const bool apart =
                points.selected() || view.row_stride > 2 * view.d * dtype_size(view.dtype);
        if (!apart || view.d > NarrowCentroids::kMostColumns) {
            points_ = &points;
            return;
        }
        rows_.resize(static_cast<size_t>(points.n() * view.d));
        for (int64_t i = 0; i < points.n(); i++) {
            points.copy_row(i, rows_.data() + i * view.d);
        }
        packed_.emplace(VectorView::of(rows_.data(), points.n(), view.d));
        points_ = &*packed_;
    }
    PackedRows(const PackedRows&) = delete;
    PackedRows& operator=(const PackedRows&) = delete;

    const Points& points() const { return *points_; }

   private:
    std::vector<float> rows_;
    std::optional<Points> packed_;
    const Points* points_;
};

/// An id that is none must not be an index. Points were finite when the clustering began.
void require_centroid(const Points& points, int64_t point, int32_t id) {
    if (id < 0) {
        throw InvalidArgument(
                "points[" + std::to_string(points.source_row(point)) +
                "] has become a NaN or an Inf while the points were clustered");
    }
}

/// The shard's rows of one problem.
class ProblemRows {
   public:
    explicit ProblemRows(const Problem& problem)
        : packed_(problem.points),
          points_(packed_.points()),
          weighted_(problem.weights != nullptr),
          sums_(points_, problem.weights),
          ids_(static_cast<size_t>(points_.n()), -1),
          count_(points_.n()) {}

    ClusterSums& sums() { return sums_; }

    void take(int64_t first, int64_t count) {
        first_ = first;
        count_ = count;
    }

    /// value_sum: of weighted rows, [LongSum::kBins].
    void assign(
            const float* centroids,
            int64_t k,
            Metric metric,
            IterationCounts& counts,
            int64_t* value_sum) {
        const bool all = count_ == points_.n();
        const Points points = all ? points_ : points_.part(first_, count_);
        const int32_t* guesses = assigned_ ? ids_.data() + first_ : nullptr;
        const Frame* frame = coded_ ? &coded_->frame() : nullptr;
        const CentroidTable table = table_for(points, centroids, k, metric, guesses, frame);
        if (!table.coded()) {
            coded_.reset(); // the next iteration tries another frame: centroids have moved
        } else if (!coded_ && all && CodedPoints::fit(points.n(), points.d())) {
            coded_.emplace(points, table.cells().front());
        }
        const int64_t rows = BlockAssigner::rows_per_block(points.n(), table);
        const auto blocks = static_cast<size_t>((points.n() + rows - 1) / rows);
        std::vector<int64_t> decided(blocks);
        std::fill_n(value_sum, weighted_ ? LongSum::kBins : 0, 0);
        assign_all(
                points,
                table,
                guesses,
                coded_ ? &*coded_ : nullptr,
                [&](int64_t block,
                    int64_t first,
                    int64_t count,
                    const int32_t* ids,
                    const double* values,
                    int64_t block_decided) {
                    std::copy_n(ids, count, ids_.begin() + first_ + first);
                    LongSum sum{};
                    for (int64_t i = 0; i < count; i++) {
                        require_centroid(points, first + i, ids[i]);
                        if (weighted_) {
                            add_to_bins(values[i], sum.bins);
                        }
                    }
                    if (weighted_) {
#pragma omp critical(faiss_flash_objective)
                        std::transform(
                                std::begin(sum.bins),
                                std::end(sum.bins),
                                value_sum,
                                value_sum,
                                std::plus<>());
                    }
                    decided[static_cast<size_t>(block)] = block_decided;
                });
        assigned_ = true;
        counts = {0, std::accumulate(decided.begin(), decided.end(), int64_t{0}), 0};
    }

    void sum() {
        sums_.run(ids_, first_, count_);
    }

    void seed(const std::vector<Seed>& seeds, float* centroids) const {
        const int64_t d = points_.d();
        constexpr int64_t kValues = 65536; // of a block
        const int64_t rows = std::max<int64_t>(1, kValues / d);
        const auto count = static_cast<int64_t>(seeds.size());
        for_each_range(count, rows, [&](int64_t begin, int64_t end) {
            for (int64_t i = begin; i < end; i++) {
                const auto& [row, centroid] = seeds[static_cast<size_t>(i)];
                points_.copy_row(row, centroids + centroid * d);
            }
        });
    }

   private:
    const PackedRows packed_;
    const Points& points_;
    const bool weighted_;
    ClusterSums sums_;
    std::vector<int32_t> ids_; // -1 before the first
    int64_t first_ = 0;        // rows that are assigned
    int64_t count_;
    bool assigned_ = false; // some ids_ are those of the iteration before
    std::optional<CodedPoints> coded_;
};

class CpuShard final : public Shard {
   public:
    CpuShard(const std::vector<Problem>& problems, const Workload& workload) : workload_(workload) {
        for (const Problem& problem : problems) {
            problems_.push_back(std::make_unique<ProblemRows>(problem));
        }
    }

    RowFacts scan() override {
        RowFacts facts;
        for (const auto& problem : problems_) {
            facts.push_back(problem->sums().range());
        }
        return facts;
    }

    void prepare(const Format& format) override {
        const SumsLayout layout = sums_layout(format, workload_);
        sums_.assign(static_cast<size_t>(layout.count()), 0);
        counts_ = reinterpret_cast<IterationCounts*>(sums_.data() + layout.counts());
        values_ = sums_.data() + layout.values();
        const int64_t squares_row = format.square_limbs * workload_.d;
        squares_.assign(format.squares.size() * static_cast<size_t>(squares_row), 0);
        for (size_t b = 0; b < problems_.size(); b++) {
            const auto first = static_cast<int64_t>(b) * workload_.k;
            problems_[b]->sums().start(
                    format.columns[b],
                    workload_.k,
                    layout.row,
                    sums_.data() + first * layout.row,
                    sums_.data() + layout.sizes() + first);
            if (!format.squares.empty()) {
                int64_t* squares = squares_.data() + static_cast<int64_t>(b) * squares_row;
                problems_[b]->sums().add_squares(format.squares[b], squares);
            }
        }
    }

    Sums squares() override { return kept(squares_); }

    void seed(const std::vector<Seed>& seeds, float* centroids) override {
        for (const auto& problem : problems_) {
            problem->seed(seeds, centroids);
            centroids += workload_.k * workload_.d;
        }
    }

    void take(int64_t first, int64_t count) override {
        for (const auto& problem : problems_) {
            problem->take(first, count);
        }
    }

    void assign(const float* centroids) override {
        for (size_t b = 0; b < problems_.size(); b++) {
            problems_[b]->assign(centroids, workload_.k, workload_.metric, counts_[b], values_);
            centroids += workload_.k * workload_.d;
        }
    }

    Sums sum() override {
        for (const auto& problem : problems_) {
            problem->sum();
        }
        return kept(sums_);
    }

   private:
    static Sums kept(std::vector<int64_t>& sums) {
        const auto count = static_cast<int64_t>(sums.size());
        return {sums.data(), count, count};
    }

    const Workload workload_;
    std::vector<std::unique_ptr<ProblemRows>> problems_;
    std::vector<int64_t> sums_;         // in sums_layout()
    IterationCounts* counts_ = nullptr; // [batch] in sums_
    int64_t* values_ = nullptr;         // [LongSum::kBins] in sums_
    std::vector<int64_t> squares_;      // [batch x limbs x d]
};

} // namespace

std::unique_ptr<Shard> open_shard(const std::vector<Problem>& problems, const Workload& workload) {
    return std::make_unique<CpuShard>(problems, workload);
}

} // namespace faiss_flash::cpu
