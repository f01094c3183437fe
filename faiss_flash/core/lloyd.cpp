#include <faiss_flash/core/lloyd.h>

#include <faiss_flash/core/pieces.h>
#include <faiss_flash/core/sampling.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <optional>

namespace faiss_flash {

namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
    return std::chrono::duration<double>(Clock::now() - start).count();
}

/// FAISS compares its float32 objectives: a change below their precision counts as none.
bool converged(double previous, double current, double threshold) {
    const auto before = static_cast<float>(previous);
    const auto now = static_cast<float>(current);
    return before != 0 && std::abs(before - now) / std::abs(before) <= threshold;
}

/// The state of all restarts of some problems.
class Lloyd {
   public:
    Lloyd(const Backend& backend,
          const std::vector<Problem>& problems,
          const std::vector<std::vector<float>>& initial,
          int64_t k,
          const KMeansOptions& options,
          const std::vector<int64_t>& cuts)
        : backend_(backend),
          problems_(problems),
          batch_(problems.size()),
          k_(k),
          d_(problems.front().points.d()),
          given_(static_cast<int64_t>(initial.front().size()) / d_),
          options_(options),
          seed_(resolve_seed(options.seed)),
          centroids_(batch_ * values()),
          stats_(batch_),
          search_seconds_(batch_),
          update_seconds_(batch_) {
        if (options.niter > 0) {
            const Problem& first = problems.front();
            const VectorView& view = first.points.view();
            const auto batch = static_cast<int64_t>(batch_);
            const Workload workload =
                    workload_of(view, first.weights, batch, first.points.n(), k, options);
            pieces_.emplace(backend, problems, workload, cuts);
        }
        rules_.frozen = options.frozen_centroids ? given_ : 0;
        rules_.spherical = options.spherical;
        rules_.int_centroids = options.int_centroids;
        for (size_t b = 0; b < batch_; b++) {
            std::copy(initial[b].begin(), initial[b].end(), centroids_of(b));
        }
    }

    std::vector<KMeansResult> run() {
        std::vector<KMeansResult> best(batch_);
        std::vector<double> best_objective(batch_);
        start_ = Clock::now();
        for (int redo = 0; redo < options_.nredo; redo++) {
            if (verbose() && options_.nredo > 1) {
                std::printf("Outer iteration %d / %d\n", redo, options_.nredo);
            }
            run_restart(redo);
            for (size_t b = 0; b < batch_; b++) {
                const double objective = stats_[b].empty() ? 0 : stats_[b].back().objective;
                const bool better = options_.metric == Metric::l2 ? objective < best_objective[b]
                                                                  : objective > best_objective[b];
                if (redo == 0 || better) {
                    if (verbose() && options_.nredo > 1) {
                        std::printf("Objective improved: keep new clusters\n");
                    }
                    best[b].k = k_;
                    best[b].d = d_;
                    best[b].centroids.assign(centroids_of(b), centroids_of(b + 1));
                    best[b].iterations = stats_[b];
                    best_objective[b] = objective;
                }
            }
        }
        return best;
    }

   private:
    void run_restart(int redo) {
        seed_centroids(redo);
        if (options_.niter == 0) {
            apply_rules(rules_, static_cast<int64_t>(batch_) * k_, d_, centroids_.data());
            return;
        }
        pieces_->load(centroids_.data(), rules_);
        const Clock::time_point start = Clock::now();
        std::vector<bool> running(batch_, true);
        for (int iteration = 0; iteration < options_.niter; iteration++) {
            poll();
            const std::vector<IterationStats> stats = pieces_->advance(options_.niter);
            const double left =
                    seconds_since(start) / (iteration + 1) * (options_.niter - iteration - 1);
            bool finished = false;
            for (size_t b = 0; b < batch_; b++) {
                if (running[b]) {
                    record(b, stats[b], iteration);
                    running[b] = goes_on(b, iteration, left);
                    finished = finished || !running[b];
                }
            }
            poll();
            const bool last = iteration + 1 == options_.niter;
            if (finished || last) {
                keep_centroids(running, last);
            }
            if (std::none_of(running.begin(), running.end(), [](bool runs) { return runs; })) {
                break;
            }
        }
        if (verbose()) {
            std::printf("\n");
        }
    }

    /// Takes the centroids of the problems that have just ended, once each.
    void keep_centroids(const std::vector<bool>& running, bool last) {
        std::vector<float> now(centroids_.size());
        pieces_->store(now.data());
        kept_.resize(batch_);
        for (size_t b = 0; b < batch_; b++) {
            if (!kept_[b] && (last || !running[b])) {
                const auto at = static_cast<int64_t>(b * values());
                std::copy_n(now.begin() + at, values(), centroids_.begin() + at);
                kept_[b] = true;
            }
        }
    }

    /// Rows not given are points of a random permutation, indexed by the centroid's own number.
    /// Given rows keep what they hold: in later restarts the previous restart's result.
    void seed_centroids(int redo) {
        const int64_t seed = seed_ + 1 + redo * int64_t{15486557};
        kept_.assign(batch_, false);
        const auto order = permutation_head(problems_.front().points.n(), k_, seed);
        backend_.read_rows(
                problems_,
                order.data() + given_,
                k_ - given_,
                centroids_.data() + given_ * d_,
                k_ * d_);
    }

    void record(size_t b, IterationStats stats, int iteration) {
        search_seconds_[b] += stats.time_search;
        update_seconds_[b] += stats.time_update;
        stats.time = seconds_since(start_);
        stats.time_search = search_seconds_[b];
        stats.time_update = update_seconds_[b];
        stats_[b].push_back(stats);
        if (verbose()) {
            std::printf(
                    "  Iteration %d (%.2f s, search %.2f s): objective=%g imbalance=%.3f "
                    "nsplit=%d       \r",
                    iteration,
                    stats.time,
                    stats.time_search,
                    stats.objective,
                    stats.imbalance_factor,
                    static_cast<int>(stats.nsplit));
            std::fflush(stdout);
        }
    }

    bool goes_on(size_t b, int iteration, double seconds_left) const {
        const std::vector<IterationStats>& stats = stats_[b];
        if (options_.early_stop_threshold && iteration > 0 &&
            converged(
                    stats[stats.size() - 2].objective,
                    stats.back().objective,
                    *options_.early_stop_threshold)) {
            if (verbose()) {
                std::printf("\n  Converged at iteration %d: objective did not change\n", iteration);
            }
            return false;
        }
        return !options_.callback || options_.callback(stats.back(), seconds_left);
    }

    void poll() const {
        if (options_.poll) {
            options_.poll();
        }
    }

    /// FAISS's lines are about one clustering.
    bool verbose() const { return options_.verbose && batch_ == 1; }
    size_t values() const { return static_cast<size_t>(k_ * d_); }
    float* centroids_of(size_t b) { return centroids_.data() + b * values(); }

    const Backend& backend_;
    const std::vector<Problem>& problems_;
    const size_t batch_;
    const int64_t k_;
    const int64_t d_;
    const int64_t given_;
    const KMeansOptions& options_;
    const int64_t seed_;
    std::vector<float> centroids_;                   // [batch x k x d]
    std::vector<std::vector<IterationStats>> stats_; // of all restarts so far
    std::vector<double> search_seconds_, update_seconds_;
    std::vector<bool> kept_;
    std::optional<Pieces> pieces_; // where there are iterations
    CentroidRules rules_;
    Clock::time_point start_;
};

} // namespace

std::vector<KMeansResult> run_lloyd(
        const Backend& backend,
        const std::vector<Problem>& problems,
        const std::vector<std::vector<float>>& initial,
        int64_t k,
        const KMeansOptions& options,
        const std::vector<int64_t>& cuts) {
    return Lloyd(backend, problems, initial, k, options, cuts).run();
}

} // namespace faiss_flash
