#include <faiss_flash/cpu/moving_averages.h>

#include <faiss_flash/core/parallel.h>
#include <faiss_flash/cpu/centroids.h>
#include <faiss_flash/cpu/row_ops.h>

#include <algorithm>
#include <chrono>
#include <functional>
#include <utility>

namespace faiss_flash::cpu {

namespace {

using Clock = std::chrono::steady_clock;

constexpr int64_t kClusters = 64; // of a block

/// What the batches of an epoch come to.
struct Epoch {
    IterationStats stats;        // times, counts and splits
    LongSum objective{};         // clusters' gains, or weighted points' values
    std::vector<int64_t> sizes;  // [k]
    std::vector<int64_t> sums;   // [k x row] of the last one
    std::vector<double> weights; // [k] of the last one
};

class MovingAverages final : public Centroids {
   public:
    MovingAverages(const Format& format, const Workload& workload, const Sums* squares)
        : format_(format),
          workload_(workload),
          layout_(sums_layout(format, workload)),
          unit_scale_(usage_scale(format.facts.front(), workload.batch_rows, workload.k)) {
        if (squares) {
            squares_ = sum_of_columns(format.squares.front(), squares->data, workload.d);
        }
    }

    void load(
            const Start& start,
            const CentroidRules& rules,
            const std::function<void(float* centroids)>& seed) override {
        const int64_t k = workload_.k;
        const int64_t d = workload_.d;
        rules_ = rules;
        centroids_.resize(static_cast<size_t>(k * d));
        std::copy_n(start.given, start.count * d, centroids_.begin());
        seed(centroids_.data());
        if (!start.ruled) {
            apply_rules(rules, k, d, centroids_.data());
        }
        averages_.resize(static_cast<size_t>(k * (d + 1)));
        if (start.averages) {
            std::copy_n(start.averages, averages_.size(), averages_.begin());
            return;
        }
        for (int64_t c = 0; c < k; c++) {
            double* own = average(c);
            for (int64_t j = 0; j < d; j++) {
                own[j] = kFirstUsage * static_cast<double>(centroid(c)[j]);
            }
            own[d] = kFirstUsage;
        }
    }

    void iterate(const Iteration& iteration) override {
        const EmeansBatch& batch = iteration.batch;
        if (batch.begins) {
            epoch_ = Epoch();
            epoch_.sizes.resize(static_cast<size_t>(workload_.k));
            epoch_.sums.resize(batch.closes ? static_cast<size_t>(layout_.sizes()) : 0);
        }
        const Clock::time_point start = Clock::now();
        iteration.assign(centroids_.data());
        const Clock::time_point assigned = Clock::now();
        take(iteration.sum().data, batch);
        if (batch.revives) {
            revive(batch.seed);
        }
        apply_rules(rules_, workload_.k, workload_.d, centroids_.data());
        const Clock::time_point end = Clock::now();
        IterationStats& stats = epoch_.stats;
        stats.time_search += std::chrono::duration<double>(assigned - start).count();
        stats.time_update += std::chrono::duration<double>(end - assigned).count();
    }

    Outcome wait() override {
        IterationStats& stats = epoch_.stats;
        const bool l2 = workload_.metric == Metric::l2;
        stats.objective = objective_of(l2, squares_, exact_value_of(epoch_.objective));
        double squares = 0;
        for (const int64_t size : epoch_.sizes) {
            squares += static_cast<double>(size) * static_cast<double>(size);
        }
        stats.imbalance_factor = imbalance_factor(squares, workload_.n, workload_.k);
        if (!epoch_.sums.empty()) {
            close();
        }
        return {{stats}, false};
    }

    void store(const std::vector<float*>& to) override {
        if (to.front()) {
            std::copy(centroids_.begin(), centroids_.end(), to.front());
        }
    }

    std::vector<double> averages() override { return averages_; }

   private:
    /// Of cluster c: [d + 1] sums, and usage.
    double* average(int64_t c) { return averages_.data() + c * (workload_.d + 1); }
    float* centroid(int64_t c) { return centroids_.data() + c * workload_.d; }

    void read_out(int64_t c) {
        const double* own = average(c);
        const double inverse = inverse_of_usage(own[workload_.d]);
        for (int64_t j = 0; j < workload_.d; j++) {
            centroid(c)[j] = centroid_of(own[j], inverse);
        }
    }

    double weight_of(const int64_t* sums, int64_t c) const {
        const int64_t d = workload_.d;
        return workload_.weighted
                       ? format_.columns.front().value(d, sums + c * layout_.row + d, d + 1)
                       : static_cast<double>(sums[layout_.sizes() + c]);
    }

    /// The values [d] of cluster c's sums in a batch. Returns what they add to the objective.
    DoubleDouble
    add_up(const int64_t* row, int64_t c, double weight, const EmeansBatch& batch, double* values) {
        if (batch.closes) {
            int64_t* all = epoch_.sums.data() + c * layout_.row;
            std::transform(row, row + layout_.row, all, all, std::plus<>());
        }
        const bool l2 = workload_.metric == Metric::l2;
        const float* moves = workload_.weighted ? nullptr : centroid(c);
        const FixedPoint& columns = format_.columns.front();
        const int64_t d = workload_.d;
        return row_ops().finish(l2, moves, weight, columns, d, row, d + 1, nullptr, values);
    }

    void move(int64_t c, const double* values, double weight, double alpha) {
        const int64_t d = workload_.d;
        double* own = average(c);
        for (int64_t j = 0; j < d; j++) {
            own[j] = moved_average(own[j], values[j], alpha);
        }
        own[d] = moved_average(own[d], weight, alpha);
        read_out(c);
    }

    /// Moves the averages by a batch's sums, and reads the centroids out.
    void take(const int64_t* sums, const EmeansBatch& batch) {
        std::vector<DoubleDouble> gains(static_cast<size_t>(workload_.k));
        for_each_range(workload_.k, kClusters, [&](int64_t begin, int64_t end) {
            std::vector<double> values(static_cast<size_t>(workload_.d));
            for (int64_t c = begin; c < end; c++) {
                const int64_t size = sums[layout_.sizes() + c];
                double weight = 0;
                if (size > 0) {
                    weight = weight_of(sums, c);
                    gains[static_cast<size_t>(c)] =
                            add_up(sums + c * layout_.row, c, weight, batch, values.data());
                    epoch_.sizes[static_cast<size_t>(c)] += size;
                } else { // of a small batch many: their sums are zeros
                    std::fill(values.begin(), values.end(), 0);
                }
                if (c >= rules_.frozen && !stays(weight, batch.alpha)) {
                    move(c, values.data(), weight, batch.alpha);
                }
            }
        });
        const auto* counts = reinterpret_cast<const IterationCounts*>(sums + layout_.counts());
        epoch_.stats.redone += counts->redone;
        epoch_.stats.decided += counts->decided;
        if (workload_.weighted) {
            int64_t* bins = epoch_.objective.bins;
            std::transform(
                    bins, bins + LongSum::kBins, sums + layout_.values(), bins, std::plus<>());
        }
        for (const DoubleDouble& gain : gains) { // zeros of weighted points
            add_to_bins(gain.high, epoch_.objective.bins);
            add_to_bins(gain.low, epoch_.objective.bins);
        }
    }

    void revive(uint64_t seed) {
        const int64_t d = workload_.d;
        std::vector<int64_t> units;
        for (int64_t c = rules_.frozen; c < workload_.k; c++) {
            units.push_back(usage_units(average(c)[d], unit_scale_));
        }
        const std::vector<Split> splits = choose_donors(units, seed);
        for (const Split& split : splits) {
            double* revived = average(rules_.frozen + split.empty);
            double* donor = average(rules_.frozen + split.donor);
            const double inverse = inverse_of_usage(donor[d]);
            const double half = donor[d] / 2;
            for (int64_t j = 0; j < d; j++) {
                const double column = donor[j] * inverse;
                revived[j] = shifted(column, j, true) * half;
                donor[j] = shifted(column, j, false) * half;
            }
            revived[d] = donor[d] = half;
            read_out(rules_.frozen + split.empty);
            read_out(rules_.frozen + split.donor);
        }
        epoch_.stats.nsplit += static_cast<int64_t>(splits.size());
    }

    /// Clusters with points of the last epoch become their means.
    void close() {
        const int64_t d = workload_.d;
        const FixedPoint& columns = format_.columns.front();
        for_each_range(workload_.k - rules_.frozen, kClusters, [&](int64_t begin, int64_t end) {
            for (int64_t c = rules_.frozen + begin; c < rules_.frozen + end; c++) {
                const int64_t* row = epoch_.sums.data() + c * layout_.row;
                const double weight =
                        workload_.weighted
                                ? columns.value(d, row + d, d + 1)
                                : static_cast<double>(epoch_.sizes[static_cast<size_t>(c)]);
                if (weight != 0) {
                    row_ops().finish(
                            false, nullptr, weight, columns, d, row, d + 1, centroid(c), nullptr);
                }
            }
        });
        apply_rules(rules_, workload_.k, d, centroids_.data());
    }

    const Format format_;
    const Workload workload_;
    const SumsLayout layout_;
    const double unit_scale_;
    DoubleDouble squares_{}; // of the points: l2 without weights
    CentroidRules rules_;
    std::vector<float> centroids_; // [k x d]
    std::vector<double> averages_; // [k x (d + 1)] as Start::averages
    Epoch epoch_;
};

} // namespace

std::unique_ptr<Centroids> moving_averages(
        const Format& format, const Workload& workload, const Sums* squares) {
    return std::make_unique<MovingAverages>(format, workload, squares);
}

} // namespace faiss_flash::cpu
