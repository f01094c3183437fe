#include <faiss_flash/core/backend.h>
#include <faiss_flash/core/empty_clusters.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

namespace faiss_flash {

double imbalance_factor(double squares, int64_t n, int64_t k) {
    const auto total = static_cast<double>(n);
    return squares * static_cast<double>(k) / (total * total);
}

void apply_rules(const CentroidRules& rules, int64_t k, int64_t d, float* centroids) {
    for (int64_t i = 0; i < k && rules.spherical; i++) {
        float* row = centroids + i * d;
        double squares = 0;
        for (int64_t j = 0; j < d; j++) {
            squares += static_cast<double>(row[j]) * row[j];
        }
        if (squares > 0) {
            const double inverse = 1 / std::sqrt(squares);
            for (int64_t j = 0; j < d; j++) {
                row[j] = static_cast<float>(row[j] * inverse);
            }
        }
    }
    for (int64_t i = 0; i < k * d && rules.int_centroids; i++) {
        centroids[i] = std::round(centroids[i]);
    }
}

int64_t finish_centroids(
        const CentroidRules& rules,
        int64_t n,
        int64_t k,
        int64_t d,
        std::vector<double>& weights,
        float* centroids) {
    const int64_t frozen = rules.frozen;
    const int64_t nsplit =
            split_empty_clusters(k - frozen, d, n, weights.data() + frozen, centroids + frozen * d);
    apply_rules(rules, k, d, centroids);
    return nsplit;
}

void LloydSession::start(const float* centroids, const CentroidRules& rules) {
    rules_ = rules;
    centroids_.assign(centroids, centroids + k_ * d_);
}

void LloydSession::enqueue() {
    step(centroids_.data(), step_);
    const int64_t kept = rules_.frozen * d_;
    std::copy(step_.means.begin() + kept, step_.means.end(), centroids_.begin() + kept);
    stats_ = IterationStats();
    stats_.objective = step_.objective;
    stats_.redone = step_.redone;
    stats_.decided = step_.decided;
    double squares = 0;
    for (const int64_t size : step_.sizes) {
        squares += static_cast<double>(size) * static_cast<double>(size);
    }
    stats_.imbalance_factor = imbalance_factor(squares, n_, k_);
    stats_.time_search = step_.search_seconds;
    stats_.time_update = step_.update_seconds;
    stats_.nsplit = finish_centroids(rules_, n_, k_, d_, step_.weights, centroids_.data());
}

std::vector<IterationStats> LloydSession::wait() {
    return {stats_};
}

void LloydSession::read_centroids(float* centroids) {
    std::copy(centroids_.begin(), centroids_.end(), centroids);
}

namespace {

/// Sessions of one problem each, one after the other.
class Sessions final : public LloydSession {
   public:
    Sessions(const Points& points, int64_t k, std::vector<std::unique_ptr<LloydSession>> sessions)
        : LloydSession(points, k), sessions_(std::move(sessions)) {}

    void step(const float* centroids, StepResult& result) override {
        sessions_.front()->step(centroids, result);
    }
    void start(const float* centroids, const CentroidRules& rules) override {
        for (const auto& session : sessions_) {
            session->start(centroids, rules);
            centroids += k_ * d_;
        }
    }
    int lookahead() const override { return sessions_.front()->lookahead(); }
    void enqueue() override {
        for (const auto& session : sessions_) {
            session->enqueue();
        }
    }
    std::vector<IterationStats> wait() override {
        std::vector<IterationStats> all;
        for (const auto& session : sessions_) {
            all.push_back(session->wait().front());
        }
        return all;
    }
    void read_centroids(float* centroids) override {
        for (const auto& session : sessions_) {
            session->read_centroids(centroids);
            centroids += k_ * d_;
        }
    }

   private:
    std::vector<std::unique_ptr<LloydSession>> sessions_;
};

} // namespace

std::unique_ptr<LloydSession> open_each(
        const std::vector<Problem>& problems,
        int64_t k,
        const std::function<std::unique_ptr<LloydSession>(const Problem&)>& open) {
    if (problems.size() == 1) {
        return open(problems.front());
    }
    std::vector<std::unique_ptr<LloydSession>> sessions(problems.size());
    std::transform(problems.begin(), problems.end(), sessions.begin(), open);
    return std::make_unique<Sessions>(problems.front().points, k, std::move(sessions));
}

int64_t Backend::most_together(const Workload& /*workload*/) const {
    return std::numeric_limits<int64_t>::max();
}

void Backend::assign_batch(
        const std::vector<Assignment>& problems, int64_t k, Metric metric) const {
    for (const Assignment& problem : problems) {
        assign(problem.points, problem.centroids, k, metric, problem.ids, problem.distances);
    }
}

void Backend::read_rows(
        const std::vector<Problem>& problems,
        const int64_t* rows,
        int64_t count,
        float* out,
        int64_t stride) const {
    for (const Problem& problem : problems) {
        for (int64_t i = 0; i < count; i++) {
            problem.points.copy_row(rows[i], out + i * problem.points.d());
        }
        out += stride;
    }
}

} // namespace faiss_flash
