#include <faiss_flash/cpu/backend.h>

#include <faiss_flash/core/linear_algebra.h>
#include <faiss_flash/core/parallel.h>
#include <faiss_flash/cpu/assign.h>
#include <faiss_flash/cpu/centroids.h>
#include <faiss_flash/cpu/row_ops.h>
#include <faiss_flash/cpu/shard.h>

#include <omp.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <random>
#include <utility>
#include <vector>

namespace faiss_flash::cpu {

namespace {

/// Adds on the calling thread.
class HostReducer final : public Reducer {
   public:
    Sums add(const std::vector<Sums>& parts) override {
        const Sums& first = parts.front();
        sum_.assign(first.data, first.data + first.count);
        for (size_t i = 1; i < parts.size(); i++) {
            std::transform(sum_.begin(), sum_.end(), parts[i].data, sum_.begin(), std::plus<>());
        }
        return {sum_.data(), first.count, first.count};
    }

   private:
    std::vector<int64_t> sum_;
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

class CpuWorker final : public Worker {
   public:
    explicit CpuWorker(const Workload& workload) : workload_(workload) {}

    std::unique_ptr<Shard> open(const std::vector<Problem>& problems) override {
        return open_shard(problems, workload_);
    }
    std::unique_ptr<Centroids> centroids(const Format& format, const Sums* squares) override {
        return cpu::centroids(format, workload_, squares);
    }
    std::unique_ptr<Reducer> reducer(const Format& /*format*/) override {
        return std::make_unique<HostReducer>();
    }

   private:
    const Workload workload_;
};

void assign_to(const CentroidTable& table, const Points& points, int64_t* ids, float* distances) {
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

/// The tables that table_for() makes, each made once.
class KeptTables final : public PreparedCentroids {
   public:
    KeptTables(const float* centroids, int64_t k, int64_t d, Metric metric)
        : centroids_(centroids), k_(k), d_(d), metric_(metric) {}

    void assign(const Points& points, int64_t* ids, float* distances) const override {
        assign_to(*table(points), points, ids, distances);
    }

   private:
    using Table = std::shared_ptr<const CentroidTable>;

    Table table(const Points& points) const {
        if (const CodeKernel* codes = code_kernel_for(points.n(), k_, d_)) {
            Table coded = kept(coded_, codes);
            if (!coded->coded() || codes_pay(points, *coded, nullptr)) {
                return coded;
            }
        }
        return kept(plain_, nullptr);
    }

    /// Made without the lock: it takes long, and what the caller polls may throw.
    Table kept(Table& table, const CodeKernel* codes) const {
        {
            const std::lock_guard<std::mutex> lock(mutex_);
            if (table) {
                return table;
            }
        }
        auto made = std::make_shared<const CentroidTable>(
                centroids_, k_, d_, metric_, score_kernel(), narrow_kernel(), codes);
        const std::lock_guard<std::mutex> lock(mutex_);
        if (!table) {
            table = std::move(made);
        }
        return table;
    }

    const float* const centroids_;
    const int64_t k_, d_;
    const Metric metric_;
    mutable std::mutex mutex_;
    mutable Table coded_, plain_;
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

    std::unique_ptr<Worker> start(const Workload& workload) const override {
        return std::make_unique<CpuWorker>(workload);
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

    /// Rates of one core, of whole iterations (bench/NOTES.md): half of what large ones reach.
    double seconds(const Workload& workload, double iterations) const override {
        const bool coded = code_kernel_for(workload.n, workload.k, workload.d) != nullptr;
        constexpr double kCoded = 250e9;
        constexpr double kAvx512 = 150e9;
        constexpr double kAvx2 = 60e9;
        constexpr double kPlain = 20e9;
        const size_t vectors = narrow_kernels().size(); // AVX2, and AVX-512 before it
        const double rate = vectors == 0 ? kPlain : vectors == 1 ? kAvx2 : coded ? kCoded : kAvx512;
        const auto points = static_cast<double>(workload.batch) * static_cast<double>(workload.n);
        const auto d = static_cast<double>(workload.d);
        constexpr double kOfScore = 16; // operations, beside those of the product
        constexpr double kOfCoordinate = 64;
        const double operations =
                points * (static_cast<double>(workload.k) * (2 * d + kOfScore) + kOfCoordinate * d);
        return iterations * operations / rate / loop_threads();
    }

    void assign(
            const Points& points,
            const float* centroids,
            int64_t k,
            Metric metric,
            int64_t* ids,
            float* distances) const override {
        assign_to(table_for(points, centroids, k, metric), points, ids, distances);
    }

    std::unique_ptr<PreparedCentroids> prepare(
            const float* centroids, int64_t k, int64_t d, Metric metric) const override {
        return std::make_unique<KeptTables>(centroids, k, d, metric);
    }
};

} // namespace

const Backend& backend() {
    static const CpuBackend instance;
    return instance;
}

} // namespace faiss_flash::cpu
