#include <faiss_flash/core/lloyd.h>

#include <faiss_flash/core/sampling.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <limits>

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

/// The state of all restarts of one run.
class Lloyd {
   public:
    Lloyd(const Backend& backend,
          const Points& points,
          const float* weights,
          const std::vector<float>& initial,
          int64_t k,
          const KMeansOptions& options)
        : points_(points),
          k_(k),
          d_(points.d()),
          given_(static_cast<int64_t>(initial.size()) / points.d()),
          options_(options),
          seed_(resolve_seed(options.seed)),
          centroids_(initial),
          session_(backend.open(points, weights, options.metric)) {
        rules_.frozen = options.frozen_centroids ? given_ : 0;
        rules_.spherical = options.spherical;
        rules_.int_centroids = options.int_centroids;
        centroids_.resize(static_cast<size_t>(k * d_));
    }

    KMeansResult run() {
        KMeansResult best;
        best.k = k_;
        best.d = d_;
        double best_objective = 0;
        start_ = Clock::now();
        for (int redo = 0; redo < options_.nredo; redo++) {
            if (options_.verbose && options_.nredo > 1) {
                std::printf("Outer iteration %d / %d\n", redo, options_.nredo);
            }
            run_restart(redo);
            const double objective = stats_.back().objective;
            const bool better = options_.metric == Metric::l2 ? objective < best_objective
                                                              : objective > best_objective;
            if (redo == 0 || better) {
                if (options_.verbose && options_.nredo > 1) {
                    std::printf("Objective improved: keep new clusters\n");
                }
                best.centroids = centroids_;
                best.iterations = stats_;
                best_objective = objective;
            }
        }
        return best;
    }

   private:
    void run_restart(int redo) {
        seed_centroids(redo);
        session_->start(centroids_.data(), k_, rules_);
        int asked = 0;
        for (int iteration = 0; iteration < options_.niter; iteration++) {
            poll();
            for (; asked < options_.niter && asked <= iteration + session_->lookahead(); asked++) {
                session_->enqueue();
            }
            finish(session_->wait(), iteration);
            poll();
            if (options_.early_stop_threshold && iteration > 0 &&
                converged(
                        stats_[stats_.size() - 2].objective,
                        stats_.back().objective,
                        *options_.early_stop_threshold)) {
                if (options_.verbose) {
                    std::printf(
                            "\n  Converged at iteration %d: objective did not change\n", iteration);
                }
                break;
            }
        }
        session_->read_centroids(centroids_.data());
        if (options_.verbose) {
            std::printf("\n");
        }
    }

    /// Rows not given are points of a random permutation, indexed by the centroid's own number.
    /// Given rows keep what they hold: in later restarts the previous restart's result.
    void seed_centroids(int redo) {
        const int64_t seed = seed_ + 1 + redo * int64_t{15486557};
        const auto order = permutation_head(points_.n(), k_, seed);
        std::vector<float> scratch(static_cast<size_t>(d_));
        for (int64_t i = given_; i < k_; i++) {
            const float* row = points_.read(order[static_cast<size_t>(i)], 1, scratch.data()).data;
            std::copy_n(row, d_, centroid(i));
        }
    }

    void finish(IterationStats stats, int iteration) {
        search_seconds_ += stats.time_search;
        stats.time = seconds_since(start_);
        stats.time_search = search_seconds_;
        stats_.push_back(stats);
        if (options_.verbose) {
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

    void poll() const {
        if (options_.poll) {
            options_.poll();
        }
    }

    float* centroid(int64_t i) { return centroids_.data() + i * d_; }

    const Points& points_;
    const int64_t k_;
    const int64_t d_;
    const int64_t given_;
    const KMeansOptions& options_;
    const int64_t seed_;
    std::vector<float> centroids_;
    std::vector<IterationStats> stats_; // of all restarts so far
    std::unique_ptr<LloydSession> session_;
    CentroidRules rules_;
    Clock::time_point start_;
    double search_seconds_ = 0;
};

} // namespace

KMeansResult run_lloyd(
        const Backend& backend,
        const Points& points,
        const float* weights,
        const std::vector<float>& initial,
        int64_t k,
        const KMeansOptions& options) {
    return Lloyd(backend, points, weights, initial, k, options).run();
}

} // namespace faiss_flash
