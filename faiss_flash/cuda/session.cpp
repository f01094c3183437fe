#include <faiss_flash/cuda/session.h>

#include <faiss_flash/cuda/runtime/check.h>
#include <faiss_flash/cuda/runtime/copy.h>
#include <faiss_flash/cuda/update/squares.h>

#include <algorithm>
#include <string>

namespace faiss_flash::cuda {

CudaSession::CudaSession(
        Assigner assigner,
        const std::vector<Problem>& problems,
        const Workload& workload,
        Metric metric)
    : LloydSession(problems.front().points, workload.k), batch_(workload.batch), metric_(metric) {
    const cudaStream_t stream = stream_.get();
    const Problem& first = problems.front();
    const int64_t k = workload.k;
    points_ = session_points(assigner, problems, k, metric, stream);
    if (first.weights) {
        weights_ = Buffer<float>(static_cast<size_t>(n_), stream);
        copy(weights_.get(), first.weights, n_, cudaMemcpyHostToDevice, stream);
    }
    if (metric == Metric::l2 && !first.weights) {
        squares_ = Buffer<DoubleDouble>(static_cast<size_t>(batch_), stream);
    }
    update_.emplace(points_->rows(), weights_.get(), squares_.get(), stream);
    if (assigner == Assigner::fast && !fast_holds(points_->rows().dtype, update_->largest())) {
        throw BeyondFast();
    }
    if (update_->limbs() > kExpectedLimbs) { // before anything is computed: known only now
        const int64_t bytes = iteration_bytes(assigner, workload, update_->limbs());
        require_room("iterations of k-means", bytes);
    }
    const auto batch = static_cast<size_t>(batch_);
    ids_ = Buffer<int32_t>(batch * static_cast<size_t>(n_), stream);
    counts_ = Buffer<IterationCounts>(batch, stream);
    check(cudaMemsetAsync(counts_.get(), 0, batch * sizeof(IterationCounts), stream),
          "clearing counts");
    const size_t clusters = batch * static_cast<size_t>(k);
    stats_ = Pinned<ClusterStats>(2 * batch);
    for (Slot& slot : slots_) {
        slot.stats = stats_.get() + (&slot == slots_.data() ? 0 : batch_);
        slot.centroids = Buffer<float>(static_cast<size_t>(values()), stream);
        slot.means = Buffer<float>(static_cast<size_t>(values()), stream);
        slot.sizes = Buffer<int64_t>(clusters, stream);
        slot.weights = Buffer<double>(clusters, stream);
    }
    if (first.weights) {
        values_ = Buffer<double>(static_cast<size_t>(n_), stream);
        value_sum_ = Buffer<LongSum>(1, stream);
        check(cudaMemsetAsync(value_sum_.get(), 0, sizeof(LongSum), stream), "clearing a sum");
    } else {
        gains_ = Buffer<DoubleDouble>(clusters, stream);
    }
    update_->reserve(k, stream);
}

void CudaSession::queue(int64_t iteration) {
    Slot& slot = slot_of(iteration);
    const cudaStream_t stream = stream_.get();
    const AssignmentArrays assignment{ids_.get(), values_.get(), counts_.get()};
    points_->assign(slot.centroids.get(), k_, metric_, assignment, stream);
    if (values_.get()) {
        sum_values(values_.get(), n_, value_sum_.get(), stream);
    }
    slot.assigned.record(stream);
    update_->run(
            ids_.get(),
            counts_.get(),
            {slot.sizes.get(), slot.weights.get(), slot.means.get(), gains_.get()},
            {slot.centroids.get(), metric_},
            stream);
    finish_iteration(
            {slot.centroids.get(),
             slot.means.get(),
             slot.sizes.get(),
             slot.weights.get(),
             squares_.get(),
             gains_.get(),
             value_sum_.get(),
             counts_.get()},
            rules_,
            batch_,
            k_,
            d_,
            slot_of(iteration + 1).centroids.get(),
            slot.stats,
            stream);
}

/// The first iterations of a restart are queued as they are: few restarts are long enough to pay
/// for more than they replay.
void CudaSession::launch(int64_t iteration) {
    constexpr int64_t kFirstReplayed = 4;
    Slot& slot = slot_of(iteration);
    const cudaStream_t stream = stream_.get();
    const bool replay = points_->replays() && iteration >= kFirstReplayed;
    if (replay && !slot.graph) {
        slot.graph = Graph::capture(stream, [&] { queue(iteration); });
    }
    slot.begin.record(stream);
    if (replay) {
        slot.graph.launch(stream);
    } else {
        queue(iteration);
    }
    slot.end.record(stream);
}

void CudaSession::start(const float* centroids, const CentroidRules& rules) {
    rules_ = rules;
    asked_ = waited_ = 0;
    for (Slot& slot : slots_) {
        slot.graph = Graph();
    }
    // A restart may have left an iteration running that nobody waits for.
    const cudaStream_t stream = stream_.get();
    copy(slot_of(0).centroids.get(), centroids, values(), cudaMemcpyHostToDevice, stream);
    check(cudaStreamSynchronize(stream), "the first centroids");
}

void CudaSession::step(const float* centroids, StepResult& result) {
    start(centroids, {});
    launch(0);
    Slot& slot = slot_of(0);
    const cudaStream_t stream = stream_.get();
    result.sizes.resize(static_cast<size_t>(k_));
    result.weights.resize(static_cast<size_t>(k_));
    result.means.resize(static_cast<size_t>(k_ * d_));
    copy(result.sizes.data(), slot.sizes.get(), k_, cudaMemcpyDeviceToHost, stream);
    copy(result.weights.data(), slot.weights.get(), k_, cudaMemcpyDeviceToHost, stream);
    copy(result.means.data(), slot.means.get(), k_ * d_, cudaMemcpyDeviceToHost, stream);
    check(cudaStreamSynchronize(stream), "an iteration on the device");
    const IterationStats stats = stats_of(slot, 0);
    result.search_seconds = stats.time_search;
    result.update_seconds = stats.time_update;
    result.objective = stats.objective;
    result.redone = stats.redone;
    result.decided = stats.decided;
}

void CudaSession::enqueue() {
    launch(asked_++);
}

IterationStats CudaSession::stats_of(const Slot& slot, int64_t problem) const {
    const ClusterStats& told = slot.stats[problem];
    IterationStats stats;
    const auto batch = static_cast<double>(batch_); // which ran as one
    stats.time_search = slot.assigned.seconds_since(slot.begin) / batch;
    stats.time_update = slot.end.seconds_since(slot.assigned) / batch;
    stats.objective = told.objective;
    stats.redone = told.counts.redone;
    stats.decided = told.counts.decided;
    stats.imbalance_factor = imbalance_factor(told.squares, n_, k_);
    return stats;
}

std::vector<IterationStats> CudaSession::wait() {
    Slot& slot = slot_of(waited_);
    slot.end.wait();
    require_valid_ids(slot);
    std::vector<IterationStats> stats;
    bool empty = false;
    for (int64_t b = 0; b < batch_; b++) {
        stats.push_back(stats_of(slot, b));
        empty = empty || slot.stats[b].empty > 0;
    }
    if (empty) {
        patch(waited_, stats);
    }
    waited_++;
    points_->told(stats.front());
    return stats;
}

void CudaSession::require_valid_ids(const Slot& slot) const {
    for (int64_t b = 0; b < batch_; b++) {
        const int64_t invalid = slot.stats[b].counts.invalid;
        if (invalid > 0) {
            throw Error(
                    "an assignment on the device found no centroid for " + std::to_string(invalid) +
                    " of n=" + std::to_string(n_) + " points of problem " + std::to_string(b));
        }
    }
}

void CudaSession::patch(int64_t iteration, std::vector<IterationStats>& stats) {
    // The iteration that runs already will be run again, and must not overtake the patch.
    check(cudaStreamSynchronize(stream_.get()), "an iteration on the device");
    for (int64_t b = 0; b < batch_; b++) {
        if (slot_of(iteration).stats[b].empty > 0) {
            stats[static_cast<size_t>(b)].nsplit = patch_problem(iteration, b);
        }
    }
    for (int64_t again = iteration + 1; again < asked_; again++) {
        launch(again);
    }
}

int64_t CudaSession::patch_problem(int64_t iteration, int64_t problem) {
    const cudaStream_t stream = stream_.get();
    Slot& slot = slot_of(iteration);
    const int64_t values = k_ * d_;
    const int64_t kept = rules_.frozen * d_;
    std::vector<double> weights(static_cast<size_t>(k_));
    std::vector<float> centroids(static_cast<size_t>(values));
    std::vector<float> frozen(static_cast<size_t>(kept)); // have had the rules already
    float* next = slot_of(iteration + 1).centroids.get() + problem * values;
    const double* slot_weights = slot.weights.get() + problem * k_;
    const float* means = slot.means.get() + problem * values;
    copy(weights.data(), slot_weights, k_, cudaMemcpyDeviceToHost, stream);
    copy(centroids.data(), means, values, cudaMemcpyDeviceToHost, stream);
    copy(frozen.data(), next, kept, cudaMemcpyDeviceToHost, stream);
    check(cudaStreamSynchronize(stream), "an iteration on the device");
    const int64_t nsplit = finish_centroids(rules_, n_, k_, d_, weights, centroids.data());
    std::copy(frozen.begin(), frozen.end(), centroids.begin());
    copy(next, centroids.data(), values, cudaMemcpyHostToDevice, stream);
    check(cudaStreamSynchronize(stream), "the patched centroids");
    return nsplit;
}

void CudaSession::read_centroids(float* centroids) {
    const cudaStream_t stream = stream_.get();
    copy(centroids, slot_of(waited_).centroids.get(), values(), cudaMemcpyDeviceToHost, stream);
    check(cudaStreamSynchronize(stream), "reading the centroids");
}

} // namespace faiss_flash::cuda
