#include <faiss_flash/cpu/backend.h>

#include <faiss_flash/cpu/assign.h>
#include <faiss_flash/cpu/blas.h>
#include <faiss_flash/cpu/centroid_table.h>
#include <faiss_flash/cpu/parallel.h>
#include <faiss_flash/cpu/update.h>

#include <algorithm>
#include <chrono>
#include <cmath>

namespace faiss_flash::cpu {

namespace {

/// Assigns all points in parallel; store(block, first, count, ids, values, decided) takes a block's
/// results, from several threads.
template <class Store>
void assign_all(const Points& points, const CentroidTable& table, const Store& store) {
    const SingleThreadedBlas single;
    const int64_t rows = BlockAssigner::rows_per_block(points.d());
    for_each_block((points.n() + rows - 1) / rows, [&] {
        return [&,
                assigner = BlockAssigner(points, table),
                ids = std::vector<int32_t>(static_cast<size_t>(rows)),
                values = std::vector<double>(static_cast<size_t>(rows))](int64_t block) mutable {
            const int64_t first = block * rows;
            const int64_t count = std::min(rows, points.n() - first);
            const int64_t decided = assigner.run(first, count, ids.data(), values.data());
            store(block, first, count, ids.data(), values.data(), decided);
        };
    });
}

class CpuSession final : public LloydSession {
   public:
    CpuSession(const Points& points, const float* weights, Metric metric)
        : LloydSession(points),
          points_(points),
          metric_(metric),
          update_(points, weights),
          ids_(static_cast<size_t>(points.n())) {}

    void step(const float* centroids, int64_t k, StepResult& result) override {
        const auto start = std::chrono::steady_clock::now();
        assign(centroids, k, result);
        const auto assigned = std::chrono::steady_clock::now();
        update_.run(ids_, k, result);
        const auto end = std::chrono::steady_clock::now();
        result.search_seconds = std::chrono::duration<double>(assigned - start).count();
        result.update_seconds = std::chrono::duration<double>(end - assigned).count();
    }

   private:
    /// Block sums of the objective are added in order: the same bits for any number of threads.
    void assign(const float* centroids, int64_t k, StepResult& result) {
        const CentroidTable table(centroids, k, points_.d(), metric_);
        const int64_t rows = BlockAssigner::rows_per_block(points_.d());
        const auto blocks = static_cast<size_t>((points_.n() + rows - 1) / rows);
        std::vector<double> objectives(blocks);
        std::vector<int64_t> decided(blocks);
        assign_all(
                points_,
                table,
                [&](int64_t block,
                    int64_t first,
                    int64_t count,
                    const int32_t* ids,
                    const double* values,
                    int64_t block_decided) {
                    std::copy_n(ids, count, ids_.begin() + first);
                    double sum = 0;
                    for (int64_t i = 0; i < count; i++) {
                        sum += values[i];
                    }
                    objectives[static_cast<size_t>(block)] = sum;
                    decided[static_cast<size_t>(block)] = block_decided;
                });
        result.objective = 0;
        result.decided = 0;
        for (size_t block = 0; block < blocks; block++) {
            result.objective += objectives[block];
            result.decided += decided[block];
        }
    }

    const Points& points_;
    const Metric metric_;
    CentroidUpdate update_;
    std::vector<int32_t> ids_;
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
            return [&, scratch = std::vector<float>(static_cast<size_t>(kBlock * d))](
                           int64_t block) mutable {
                const int64_t first = block * kBlock;
                const int64_t count = std::min(kBlock, points.n() - first);
                const RowBlock rows = points.read(first, count, scratch.data());
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
            Metric metric,
            Precision /*precision*/) const override {
        return open_each(problems, [&](const Problem& problem) {
            return std::make_unique<CpuSession>(problem.points, problem.weights, metric);
        });
    }

    void assign(
            const Points& points,
            const float* centroids,
            int64_t k,
            Metric metric,
            int64_t* ids,
            float* distances) const override {
        const CentroidTable table(centroids, k, points.d(), metric);
        assign_all(
                points,
                table,
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
