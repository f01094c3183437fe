#include <faiss_flash/cpu/centroids.h>
#include <faiss_flash/cpu/moving_averages.h>

#include <faiss_flash/core/parallel.h>
#include <faiss_flash/cpu/row_ops.h>

#include <algorithm>
#include <chrono>

namespace faiss_flash::cpu {

SumsLayout sums_layout(const Format& format, const Workload& workload) {
    return {workload.batch, workload.k, format.limbs * (workload.d + 1), workload.weighted};
}

ClusterMeans find_means(
        const Format& format,
        const Workload& workload,
        const int64_t* sums,
        int64_t b,
        const float* centroids,
        DoubleDouble squares) {
    const int64_t k = workload.k;
    const int64_t d = workload.d;
    const bool l2 = workload.metric == Metric::l2;
    const bool weighted = workload.weighted;
    const SumsLayout layout = sums_layout(format, workload);
    const FixedPoint& columns = format.columns[static_cast<size_t>(b)];
    const int64_t* rows = sums + b * k * layout.row;
    const int64_t* sizes = sums + layout.sizes() + b * k;
    ClusterMeans result;
    result.weights.resize(static_cast<size_t>(k));
    result.means.resize(static_cast<size_t>(k * d));
    std::vector<DoubleDouble> gains(static_cast<size_t>(k));
    constexpr int64_t kClusters = 64; // of a block
    for_each_range(k, kClusters, [&](int64_t begin, int64_t end) {
        for (int64_t c = begin; c < end; c++) {
            const int64_t* row = rows + c * layout.row;
            const double weight =
                    weighted ? columns.value(d, row + d, d + 1) : static_cast<double>(sizes[c]);
            result.weights[static_cast<size_t>(c)] = weight;
            gains[static_cast<size_t>(c)] = row_ops().finish(
                    l2,
                    weighted ? nullptr : centroids + c * d,
                    weight,
                    columns,
                    d,
                    row,
                    d + 1,
                    result.means.data() + c * d,
                    nullptr);
        }
    });
    if (weighted) {
        LongSum values;
        std::copy_n(sums + layout.values(), LongSum::kBins, values.bins);
        result.objective = value_of(values);
    } else {
        result.objective = objective_of(l2, squares, sum_of_clusters(gains.data(), k));
    }
    return result;
}

namespace {

using Clock = std::chrono::steady_clock;

class CpuCentroids final : public Centroids {
   public:
    CpuCentroids(const Format& format, const Workload& workload, const Sums* squares)
        : format_(format), workload_(workload), squares_(static_cast<size_t>(workload.batch)) {
        for (size_t b = 0; squares && b < squares_.size(); b++) {
            const int64_t* sums =
                    squares->data + static_cast<int64_t>(b) * format.square_limbs * workload.d;
            squares_[b] = sum_of_columns(format.squares[b], sums, workload.d);
        }
    }

    void load(
            const Start& start,
            const CentroidRules& rules,
            const std::function<void(float* centroids)>& seed) override {
        rules_ = rules;
        centroids_.resize(static_cast<size_t>(workload_.batch * values()));
        const int64_t given = start.count * workload_.d; // values of a problem
        for (int64_t b = 0; b < workload_.batch; b++) {
            std::copy_n(start.given + b * given, given, centroids_.begin() + b * values());
        }
        seed(centroids_.data());
        if (!start.ruled) {
            const int64_t all = workload_.batch * workload_.k;
            apply_rules(rules, all, workload_.d, centroids_.data());
        }
    }

    void iterate(const Iteration& iteration) override {
        const Clock::time_point start = Clock::now();
        iteration.assign(centroids_.data());
        const Clock::time_point assigned = Clock::now();
        const Sums sums = iteration.sum();
        stats_.assign(static_cast<size_t>(workload_.batch), {});
        for (int64_t b = 0; b < workload_.batch; b++) {
            finish(sums.data, b);
        }
        const Clock::time_point end = Clock::now();
        const auto batch = static_cast<double>(workload_.batch); // which ran as one
        for (IterationStats& stats : stats_) {
            stats.time_search = std::chrono::duration<double>(assigned - start).count() / batch;
            stats.time_update = std::chrono::duration<double>(end - assigned).count() / batch;
        }
    }

    Outcome wait() override { return {stats_, false}; }

    void store(const std::vector<float*>& to) override {
        const float* from = centroids_.data();
        for (float* centroids : to) {
            if (centroids) {
                std::copy_n(from, values(), centroids);
            }
            from += values();
        }
    }

   private:
    /// Of problem b: the next centroids, and what is told of these.
    void finish(const int64_t* sums, int64_t b) {
        const int64_t n = workload_.n;
        const int64_t k = workload_.k;
        const int64_t d = workload_.d;
        const auto problem = static_cast<size_t>(b);
        const SumsLayout layout = sums_layout(format_, workload_);
        float* centroids = centroids_.data() + b * values();
        ClusterMeans found = find_means(format_, workload_, sums, b, centroids, squares_[problem]);
        IterationStats& stats = stats_[problem];
        stats.objective = found.objective;
        const auto* counts = reinterpret_cast<const IterationCounts*>(sums + layout.counts());
        stats.redone = counts[b].redone;
        stats.decided = counts[b].decided;
        double squares = 0;
        for (int64_t c = 0; c < k; c++) {
            const auto size = static_cast<double>(sums[layout.sizes() + b * k + c]);
            squares += size * size;
        }
        stats.imbalance_factor = imbalance_factor(squares, n, k);
        const int64_t kept = rules_.frozen * d;
        std::copy(found.means.begin() + kept, found.means.end(), centroids + kept);
        stats.nsplit = finish_centroids(rules_, n, k, d, found.weights, centroids);
    }

    int64_t values() const { return workload_.k * workload_.d; }

    const Format format_;
    const Workload workload_;
    std::vector<DoubleDouble> squares_; // [batch] of the points: l2 without weights
    CentroidRules rules_;
    std::vector<float> centroids_; // [batch x k x d]
    std::vector<IterationStats> stats_;
};

} // namespace

std::unique_ptr<Centroids> centroids(
        const Format& format, const Workload& workload, const Sums* squares) {
    if (workload.batch_rows > 0) {
        return moving_averages(format, workload, squares);
    }
    return std::make_unique<CpuCentroids>(format, workload, squares);
}

} // namespace faiss_flash::cpu
