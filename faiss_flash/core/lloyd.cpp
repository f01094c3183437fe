#include <faiss_flash/core/lloyd.h>

#include <faiss_flash/core/assign.h>
#include <faiss_flash/core/interrupt.h>
#include <faiss_flash/core/pieces.h>
#include <faiss_flash/core/sampling.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <optional>
#include <utility>

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

/// The result that a run would have had if it had ended with the state's best restart.
KMeansResult best_of(const LloydState& state, int64_t k, int64_t d) {
    KMeansResult result;
    result.k = k;
    result.d = d;
    result.centroids = state.best_centroids;
    result.iterations.assign(state.stats.begin(), state.stats.begin() + state.best_iterations);
    return result;
}

/// The state of all restarts of some problems.
class Lloyd {
   public:
    Lloyd(const Backend& backend,
          const std::vector<Problem>& problems,
          const std::vector<std::vector<float>>& initial,
          int64_t k,
          const KMeansOptions& options,
          Checkpoint* checkpoint,
          const std::vector<int64_t>& cuts)
        : backend_(backend),
          problems_(problems),
          batch_(problems.size()),
          k_(k),
          d_(problems.front().points.d()),
          given_(static_cast<int64_t>(initial.front().size()) / d_),
          options_(options),
          checkpoint_(checkpoint),
          seed_(resolve_seed(options.seed)),
          centroids_(batch_),
          stats_(batch_),
          best_(batch_),
          best_objective_(batch_),
          search_seconds_(batch_),
          update_seconds_(batch_) {
        if (options.niter > 0) {
            const Problem& first = problems.front();
            const VectorView& view = first.points.view();
            const auto batch = static_cast<int64_t>(batch_);
            const Workload workload =
                    workload_of(view, first.weights, batch, first.points.n(), k, options);
            std::optional<EmeansSchedule> schedule;
            if (options.algorithm == Algorithm::e_means) {
                schedule.emplace(workload.n, k, options);
            }
            pieces_.emplace(backend, problems, workload, cuts, schedule);
            if (checkpoint) {
                checkpoint->check(pieces_->facts());
            }
        }
        rules_.frozen = options.frozen_centroids ? given_ : 0;
        rules_.spherical = options.spherical;
        rules_.int_centroids = options.int_centroids;
        for (const std::vector<float>& rows : initial) {
            given_rows_.insert(given_rows_.end(), rows.begin(), rows.end());
        }
    }

    std::vector<KMeansResult> run() {
        start_ = Clock::now();
        if (checkpoint_ && checkpoint_->resumed()) {
            take_up(*checkpoint_->resumed());
        }
        for (; redo_ < options_.nredo; redo_++, iterations_ = 0) {
            if (verbose() && options_.nredo > 1) {
                std::printf("Outer iteration %d / %d\n", redo_, options_.nredo);
            }
            run_restart();
            const bool last = redo_ + 1 == options_.nredo;
            const bool can_go_on = stopped_ && last && iterations_ < options_.niter;
            if (checkpoint_ && can_go_on) {
                checkpoint_->finish(state(false, centroids_.front()));
            }
            keep_best();
            if (checkpoint_ && last && !can_go_on) {
                checkpoint_->finish(state(true, {}));
            } else if (checkpoint_ && !last && checkpoint_->due()) {
                checkpoint_->offer([&] { return state(true, centroids_.front()); });
            }
        }
        if (options_.return_assignment) {
            assign_points();
        }
        return std::move(best_);
    }

   private:
    /// By what the device has of them; a sample is not all points.
    void assign_points() {
        std::vector<Assignment> all;
        const bool trained_on = pieces_ && !problems_.front().points.selected();
        for (size_t b = 0; trained_on && b < batch_; b++) {
            all.push_back(assignment_into(best_[b], problems_[b].points, options_.memory_limit));
        }
        if (!trained_on || !pieces_->assign(all, k_, options_.metric)) {
            for (KMeansResult& result : best_) {
                result.assignment.clear();
                result.distances.clear();
            }
        }
    }

    /// Takes the place of the start of the run; of one problem.
    void take_up(const LloydState& state) {
        centroids_[0] = state.centroids;
        averages_ = state.averages;
        keep_given_rows(0);
        stats_[0] = state.stats;
        if (!state.stats.empty()) {
            const IterationStats& before = state.stats.back();
            search_seconds_[0] = before.time_search;
            update_seconds_[0] = before.time_update;
            start_ -= std::chrono::duration_cast<Clock::duration>(
                    std::chrono::duration<double>(before.time));
        }
        best_[0] = best_of(state, k_, d_);
        best_objective_[0] = state.best_objective;
        redo_ = static_cast<int>(state.redo) + (state.over ? 1 : 0);
        iterations_ = state.over ? 0 : static_cast<int>(state.iterations);
        if (verbose()) {
            std::printf(
                    "  Resuming %s in redo %d after %d iterations\n",
                    options_.checkpoint.c_str(),
                    redo_,
                    iterations_);
        }
    }

    /// What the checkpoint keeps of now; see LloydState.
    LloydState state(bool over, std::vector<float> centroids) {
        LloydState now;
        now.redo = redo_;
        now.iterations = iterations_;
        now.over = over;
        now.centroids = std::move(centroids);
        now.averages = over ? std::vector<double>() : pieces_->averages();
        now.best_centroids = best_[0].centroids;
        now.best_objective = best_objective_[0];
        now.best_iterations = static_cast<int64_t>(best_[0].iterations.size());
        now.stats = stats_[0];
        return now;
    }

    /// Given rows keep what they hold: in later restarts the previous restart's result.
    void keep_given_rows(size_t b) {
        const int64_t kept = given_ * d_;
        const auto to = given_rows_.begin() + static_cast<int64_t>(b) * kept;
        std::copy_n(centroids_[b].begin(), kept, to);
    }

    void keep_best() {
        // A state between two restarts has both.
        const bool both = checkpoint_ && redo_ + 1 < options_.nredo;
        for (size_t b = 0; b < batch_; b++) {
            keep_given_rows(b);
            const double objective = stats_[b].empty() ? 0 : stats_[b].back().objective;
            const bool better = options_.metric == Metric::l2 ? objective < best_objective_[b]
                                                              : objective > best_objective_[b];
            if (redo_ == 0 || better) {
                if (verbose() && options_.nredo > 1) {
                    std::printf("Objective improved: keep new clusters\n");
                }
                best_[b].k = k_;
                best_[b].d = d_;
                if (both) {
                    best_[b].centroids = centroids_[b];
                } else {
                    best_[b].centroids.swap(centroids_[b]);
                }
                best_[b].iterations = stats_[b];
                best_objective_[b] = objective;
            }
        }
    }

    void run_restart() {
        if (options_.niter == 0) {
            seed_on_host();
            return;
        }
        const uint64_t seed = random_number(static_cast<uint64_t>(seed_), redo_);
        Start begin{given_rows_.data(), given_, false, {}};
        if (iterations_ == 0) {
            begin.rows = rows_to_begin_with();
        } else { // taken up
            begin = {centroids_[0].data(), k_, true, {}};
            begin.averages = averages_.empty() ? nullptr : averages_.data();
        }
        pieces_->load(begin, rules_, seed, iterations_);
        kept_.assign(batch_, false);
        const Clock::time_point start = Clock::now();
        std::vector<bool> running(batch_, true);
        const int before = iterations_;
        for (int iteration = before; iteration < options_.niter; iteration++) {
            poll_if_due();
            // Reading the centroids would wait for an iteration that runs ahead.
            const bool saved = checkpoint_ && checkpoint_->due();
            const int most = (saved ? iteration + 1 : options_.niter) - before;
            pieces_->ask(most);
            make_room(iteration + 1 - before, options_.niter - before);
            const std::vector<IterationStats> stats = pieces_->wait();
            iterations_ = iteration + 1;
            const double left =
                    seconds_since(start) / (iterations_ - before) * (options_.niter - iterations_);
            bool finished = false;
            for (size_t b = 0; b < batch_; b++) {
                if (running[b]) {
                    record(b, stats[b], iteration);
                    running[b] = goes_on(b, iteration, left);
                    finished = finished || !running[b];
                }
            }
            const bool last = iterations_ == options_.niter;
            if (finished || last) {
                keep_centroids(running, last);
            } else if (saved) {
                checkpoint_->offer([&] { return state(false, read_centroids()); });
            }
            if (std::none_of(running.begin(), running.end(), [](bool runs) { return runs; })) {
                break;
            }
        }
        if (verbose()) {
            std::printf("\n");
        }
    }

    /// The first touch of a result's memory takes longer than the copy into it: a part of `parts`
    /// is touched an iteration, while the device works.
    void make_room(int64_t part, int64_t parts) {
        constexpr int64_t kLeast = 1 << 20; // values: more parts bring nothing
        const int64_t assigned = options_.return_assignment ? problems_.front().points.view().n : 0;
        const auto all = static_cast<int64_t>(batch_) * (k_ * d_ + 2 * assigned);
        int64_t wanted = std::min(all, std::max(all / parts + 1, kLeast) * part);
        const auto touch = [&wanted](auto& values, int64_t count) {
            const int64_t own = std::min(wanted, count);
            if (values.size() < static_cast<size_t>(own)) {
                values.reserve(static_cast<size_t>(count));
                values.resize(static_cast<size_t>(own));
            }
            wanted -= own;
        };
        for (size_t b = 0; b < batch_; b++) {
            touch(centroids_[b], k_ * d_);
        }
        for (size_t b = 0; b < batch_; b++) {
            touch(best_[b].assignment, assigned);
            touch(best_[b].distances, assigned);
        }
    }

    /// Takes the centroids of the problems that have just ended, once each.
    void keep_centroids(const std::vector<bool>& running, bool last) {
        std::vector<float*> to(batch_);
        for (size_t b = 0; b < batch_; b++) {
            if (!kept_[b] && (last || !running[b])) {
                centroids_[b].resize(values());
                to[b] = centroids_[b].data();
                kept_[b] = true;
            }
        }
        pieces_->store(to);
    }

    /// Of one problem.
    std::vector<float> read_centroids() {
        std::vector<float> now(values());
        pieces_->store({now.data()});
        return now;
    }

    /// Centroids that are not given are points of a random permutation, indexed by the centroid's
    /// own number.
    std::vector<int64_t> rows_to_begin_with() const {
        const int64_t seed = seed_ + 1 + redo_ * int64_t{15486557};
        auto order = permutation_head(problems_.front().points.n(), k_, seed);
        order.erase(order.begin(), order.begin() + given_);
        return order;
    }

    /// Where nothing is iterated.
    void seed_on_host() {
        const std::vector<int64_t> rows = rows_to_begin_with();
        for (size_t b = 0; b < batch_; b++) {
            const int64_t given = given_ * d_;
            const auto from = given_rows_.begin() + static_cast<int64_t>(b) * given;
            centroids_[b].resize(values());
            float* centroids = centroids_[b].data();
            std::copy_n(from, given, centroids);
            backend_.read_rows(problems_[b].points, rows.data(), k_ - given_, centroids + given);
            apply_rules(rules_, k_, d_, centroids);
        }
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

    bool goes_on(size_t b, int iteration, double seconds_left) {
        const std::vector<IterationStats>& stats = stats_[b];
        const bool stops_early =
                options_.early_stop_threshold && options_.algorithm == Algorithm::lloyd;
        if (stops_early && iteration > 0 &&
            converged(
                    stats[stats.size() - 2].objective,
                    stats.back().objective,
                    *options_.early_stop_threshold)) {
            if (verbose()) {
                std::printf("\n  Converged at iteration %d: objective did not change\n", iteration);
            }
            return false;
        }
        stopped_ = options_.callback && !options_.callback(stats.back(), seconds_left);
        return !stopped_;
    }

    /// FAISS's lines are about one clustering.
    bool verbose() const { return options_.verbose && batch_ == 1; }
    size_t values() const { return static_cast<size_t>(k_ * d_); }

    const Backend& backend_;
    const std::vector<Problem>& problems_;
    const size_t batch_;
    const int64_t k_;
    const int64_t d_;
    const int64_t given_;
    const KMeansOptions& options_;
    Checkpoint* const checkpoint_; // of the one problem; or null
    const int64_t seed_;
    std::vector<float> given_rows_;                  // [batch x given x d]
    std::vector<std::vector<float>> centroids_;      // [k x d] of the restart that has just ended
    std::vector<double> averages_;                   // of a state that was taken up; of e-means
    std::vector<std::vector<IterationStats>> stats_; // of all restarts so far
    std::vector<KMeansResult> best_;
    std::vector<double> best_objective_;
    std::vector<double> search_seconds_, update_seconds_;
    int redo_ = 0;         // the restart that runs
    int iterations_ = 0;   // of it that have run
    bool stopped_ = false; // its last iteration was, by the callback
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
        Checkpoint* checkpoint,
        const std::vector<int64_t>& cuts) {
    if (checkpoint) {
        checkpoint->begin(backend, problems.front(), initial.front(), k);
        if (checkpoint->finished()) {
            return {best_of(*checkpoint->resumed(), k, problems.front().points.d())};
        }
    }
    return Lloyd(backend, problems, initial, k, options, checkpoint, cuts).run();
}

} // namespace faiss_flash
