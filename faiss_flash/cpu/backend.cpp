#include <faiss_flash/cpu/backend.h>

#include <faiss_flash/core/linear_algebra.h>
#include <faiss_flash/core/parallel.h>
#include <faiss_flash/cpu/assign.h>
#include <faiss_flash/cpu/centroid_table.h>
#include <faiss_flash/cpu/update.h>

#include <omp.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <functional>
#include <iterator>
#include <numeric>
#include <optional>
#include <random>
#include <string>

namespace faiss_flash::cpu {

namespace {

/// Where scores in 8 bits are faster, or null.
const CodeKernel* code_kernel_for(int64_t n, int64_t k, int64_t d) {
    const CodeKernel* codes = code_kernel();
    return codes && CodeKernel::pays(n, k, d) ? codes : nullptr;
}

/// @param guesses  [n] of BlockAssigner::run, or null
/// @param frame    of points that were coded before, or null
CentroidTable table_for(
        const Points& points,
        const float* centroids,
        int64_t k,
        Metric metric,
        const int32_t* guesses = nullptr,
        const Frame* frame = nullptr) {
    const int64_t d = points.d();
    if (const CodeKernel* codes = code_kernel_for(points.n(), k, d)) {
        CentroidTable table(centroids, k, d, metric, score_kernel(), narrow_kernel(), codes, frame);
        if (!table.coded() || codes_pay(points, table, guesses)) {
            return table;
        }
    }
    return {centroids, k, d, metric};
}

/// Assigns all points in parallel; store(block, first, count, ids, values, decided) takes a block's
/// results, from several threads.
/// @param guesses  [n] of BlockAssigner::run, or null
/// @param coded    of BlockAssigner, or null
template <class Store>
void assign_all(
        const Points& points,
        const CentroidTable& table,
        const int32_t* guesses,
        const CodedPoints* coded,
        const Store& store) {
    const SingleThreadedBlas single;
    const int64_t rows = BlockAssigner::rows_per_block(points.n(), table);
    for_each_block((points.n() + rows - 1) / rows, [&] {
        return [&,
                assigner = BlockAssigner(points, table, coded),
                ids = std::vector<int32_t>(static_cast<size_t>(rows)),
                values = std::vector<double>(static_cast<size_t>(rows))](int64_t block) mutable {
            const int64_t first = block * rows;
            const int64_t count = std::min(rows, points.n() - first);
            const int64_t decided = assigner.run(
                    first, count, guesses ? guesses + first : nullptr, ids.data(), values.data());
            store(block, first, count, ids.data(), values.data(), decided);
        };
    });
}

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

/// Seconds of one thread for a point and a centroid: of a block of points, tried out.
double score_seconds(int64_t d, int64_t k) {
    constexpr int64_t kMostCentroids = 1024;
    const SingleThreadedBlas single;
    constexpr int64_t kRows = 1024; // enough for codes
    const int64_t centroids = std::min(k, kMostCentroids);
    std::minstd_rand generator(1);
    std::vector<float> values(static_cast<size_t>(std::max(kRows, centroids) * d));
    for (float& value : values) {
        value = static_cast<float>(generator() % 1000);
    }
    const Points points(VectorView::of(values.data(), kRows, d));
    const CentroidTable table = table_for(points, values.data(), centroids, Metric::l2);
    BlockAssigner assigner(points, table);
    const int64_t rows = BlockAssigner::rows_per_block(kRows, table);
    std::vector<int32_t> ids(static_cast<size_t>(rows));
    std::vector<double> distances(static_cast<size_t>(rows));
    const auto assign = [&] {
        const auto start = std::chrono::steady_clock::now();
        for (int64_t first = 0; first < kRows; first += rows) {
            const int64_t count = std::min(rows, kRows - first);
            assigner.run(first, count, nullptr, ids.data(), distances.data());
        }
        return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    };
    assign(); // warms the caches
    return assign() / static_cast<double>(kRows * centroids);
}

class CpuSession final : public LloydSession {
   public:
    CpuSession(const Points& points, int64_t k, const float* weights, Metric metric)
        : LloydSession(points, k),
          packed_(points),
          points_(packed_.points()),
          metric_(metric),
          weighted_(weights != nullptr),
          update_(points_, weights, metric),
          ids_(static_cast<size_t>(points.n())) {}

    void step(const float* centroids, StepResult& result) override {
        const auto start = std::chrono::steady_clock::now();
        assign(centroids, result);
        const auto assigned = std::chrono::steady_clock::now();
        update_.run(ids_, centroids, k_, result);
        const auto end = std::chrono::steady_clock::now();
        result.search_seconds = std::chrono::duration<double>(assigned - start).count();
        result.update_seconds = std::chrono::duration<double>(end - assigned).count();
    }

   private:
    /// An id that is none must not be an index. Points were finite when the session began.
    static void require_centroid(int64_t point, int32_t id) {
        if (id < 0) {
            throw InvalidArgument(
                    "points[" + std::to_string(point) +
                    "] has become a NaN or an Inf while the points were clustered");
        }
    }

    /// With weights the objective is the sum of the points' values, else update_ finds it.
    void assign(const float* centroids, StepResult& result) {
        const int32_t* guesses = assigned_ ? ids_.data() : nullptr;
        const Frame* frame = coded_ ? &coded_->frame() : nullptr;
        const CentroidTable table = table_for(points_, centroids, k_, metric_, guesses, frame);
        if (!table.coded()) {
            coded_.reset(); // the next step tries another frame: centroids have moved
        } else if (!coded_ && CodedPoints::fit(points_.n(), points_.d())) {
            coded_.emplace(points_, table.cells().front());
        }
        const int64_t rows = BlockAssigner::rows_per_block(points_.n(), table);
        const auto blocks = static_cast<size_t>((points_.n() + rows - 1) / rows);
        LongSum objective{};
        std::vector<int64_t> decided(blocks);
        assign_all(
                points_,
                table,
                guesses,
                coded_ ? &*coded_ : nullptr,
                [&](int64_t block,
                    int64_t first,
                    int64_t count,
                    const int32_t* ids,
                    const double* values,
                    int64_t block_decided) {
                    std::copy_n(ids, count, ids_.begin() + first);
                    LongSum sum{};
                    for (int64_t i = 0; i < count; i++) {
                        require_centroid(first + i, ids[i]);
                        if (weighted_) {
                            add_to_bins(values[i], sum.bins);
                        }
                    }
                    if (weighted_) {
#pragma omp critical(faiss_flash_objective)
                        std::transform(
                                std::begin(sum.bins),
                                std::end(sum.bins),
                                objective.bins,
                                objective.bins,
                                std::plus<>());
                    }
                    decided[static_cast<size_t>(block)] = block_decided;
                });
        assigned_ = true;
        result.objective = value_of(objective);
        result.decided = std::accumulate(decided.begin(), decided.end(), int64_t{0});
    }

    const PackedRows packed_;
    const Points& points_;
    const Metric metric_;
    const bool weighted_;
    CentroidUpdate update_;
    std::vector<int32_t> ids_;
    bool assigned_ = false; // ids_ are those of the step before
    std::optional<CodedPoints> coded_;
};

class CpuBackend final : public Backend {
   public:
    const char* name() const override { return "cpu"; }

    bool reads(const VectorView& rows) const override { return rows.space != MemorySpace::device; }

    std::optional<NonFinite> find_non_finite(const std::vector<Points>& problems) const override {
        for (const Points& points : problems) {
            if (const auto found = find_non_finite(points)) {
                return found;
            }
        }
        return std::nullopt;
    }

    static std::optional<NonFinite> find_non_finite(const Points& points) {
        constexpr int64_t kBlock = 1024;
        const int64_t d = points.d();
        std::optional<NonFinite> found;
        for_each_block((points.n() + kBlock - 1) / kBlock, [&] {
            return [&, scratch = AlignedFloats(points.in_place() ? 0 : kBlock * d)](int64_t block) {
                const int64_t first = block * kBlock;
                const int64_t count = std::min(kBlock, points.n() - first);
                const RowBlock rows = points.read(first, count, scratch.get());
                for (int64_t i = 0; i < count; i++) {
                    if (row_ops().all_finite(rows.row(i), d)) {
                        continue;
                    }
                    const float* row = rows.row(i);
                    const auto* bad = std::find_if_not(
                            row, row + d, [](float value) { return std::isfinite(value); });
#pragma omp critical(faiss_flash_find_non_finite)
                    if (!found || first + i < found->row) {
                        found = NonFinite{first + i, bad - row};
                    }
                    return;
                }
            };
        });
        return found;
    }

    std::unique_ptr<LloydSession> open(
            const std::vector<Problem>& problems,
            int64_t k,
            Metric metric,
            Precision /*precision*/) const override {
        return open_each(problems, k, [&](const Problem& problem) {
            return std::make_unique<CpuSession>(problem.points, k, problem.weights, metric);
        });
    }

    Expectation expect(const Workload& workload) const override {
        constexpr double kUpdateSeconds = 1.5e-9; // of a coordinate, by one thread
        const auto points = static_cast<double>(workload.batch * workload.n);
        const double threads = omp_get_max_threads();
        Expectation expected;
        const int64_t point_bytes = 20; // ids, the ones before, the order of the update
        const int64_t centroid_bytes = 40 * (workload.d + 1); // tables, sums, means
        expected.host_bytes =
                workload.batch * (workload.n * point_bytes + workload.k * centroid_bytes);
        if (code_kernel_for(workload.n, workload.k, workload.d) &&
            CodedPoints::fit(workload.n, workload.d)) {
            expected.host_bytes += workload.batch * CodedPoints::bytes(workload.n, workload.d);
        }
        const auto d = static_cast<double>(workload.d);
        expected.open_seconds = points * d * kUpdateSeconds / threads;
        expected.iteration_seconds =
                points *
                (static_cast<double>(workload.k) * score_seconds(workload.d, workload.k) +
                 d * kUpdateSeconds) /
                threads;
        return expected;
    }

    void assign(
            const Points& points,
            const float* centroids,
            int64_t k,
            Metric metric,
            int64_t* ids,
            float* distances) const override {
        const CentroidTable table = table_for(points, centroids, k, metric);
        assign_all(
                points,
                table,
                nullptr,
                nullptr,
                [&](int64_t,
                    int64_t first,
                    int64_t count,
                    const int32_t* block_ids,
                    const double* values,
                    int64_t) {
                    std::copy_n(block_ids, count, ids + first);
                    for (int64_t i = 0; distances && i < count; i++) {
                        distances[first + i] = static_cast<float>(values[i]);
                    }
                });
    }
};

} // namespace

const Backend& backend() {
    static const CpuBackend instance;
    return instance;
}

} // namespace faiss_flash::cpu
