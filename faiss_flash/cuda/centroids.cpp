#include <faiss_flash/cuda/centroids.h>

#include <faiss_flash/cuda/download.h>
#include <faiss_flash/cuda/runtime/arena.h>
#include <faiss_flash/cuda/runtime/check.h>
#include <faiss_flash/cuda/runtime/copy.h>
#include <faiss_flash/cuda/runtime/event.h>
#include <faiss_flash/cuda/runtime/graph.h>
#include <faiss_flash/cuda/runtime/pinned.h>
#include <faiss_flash/cuda/update/finish.h>
#include <faiss_flash/cuda/update/row_facts.h>
#include <faiss_flash/cuda/update/rules.h>

#include <algorithm>
#include <array>
#include <functional>
#include <string>
#include <vector>

namespace faiss_flash::cuda {

namespace {

/// Arrays on the device.
struct CentroidArrays {
    CentroidArrays(const SumFormat& format, Arena& arena) {
        const int64_t clusters = format.workload.batch * format.workload.k;
        const int64_t values = clusters * format.workload.d;
        IterationArrays shared{}; // what one iteration writes there is read before the next one
        shared.gains = format.workload.weighted ? nullptr : arena.take<DoubleDouble>(clusters);
        shared.squares =
                format.has_squares ? arena.take<DoubleDouble>(format.workload.batch) : nullptr;
        shared.assigned = arena.take<uint64_t>(1);
        shared.finished = arena.take<uint32_t>(format.workload.batch);
        for (IterationArrays& slot : slots) {
            slot = shared;
            slot.centroids = arena.take<float>(values);
            slot.means = arena.take<float>(values);
            slot.sizes = arena.take<int64_t>(clusters);
            slot.weights = arena.take<double>(clusters);
        }
        slots[0].next = slots[1].centroids;
        slots[1].next = slots[0].centroids;
        splits = arena.take<Split>(format.workload.k);
    }

    std::array<IterationArrays, 2> slots; ///< two iterations take turns
    Split* splits;                        ///< [k]
};

/// Iterations are queued on a stream and nothing waits inside one: while the host looks at the
/// statistics of one, the next is running. Only when a cluster came out empty does the host
/// choose donors, by FAISS's rule, and have the next iteration asked for again.
class CudaCentroids final : public Centroids {
   public:
    CudaCentroids(const SumFormat& format, const Sums* squares, cudaStream_t stream);
    ~CudaCentroids() override { cudaStreamSynchronize(stream_); }

    void load(
            const Start& start,
            const CentroidRules& rules,
            const std::function<void(float* centroids)>& seed) override;
    int lookahead() const override { return 1; }
    void iterate(const Iteration& iteration) override;
    Outcome wait() override;
    void store(const std::vector<float*>& to) override;

   private:
    /// What belongs to a slot of the arrays, on the host.
    struct Turn {
        ClusterStats* stats;         ///< [batch]
        uint64_t* began;             ///< by the device's clock; where it waits for the host
        bool waits_for_host = false; ///< the device had nothing to do before it
        Event end;
        Graph graph;
        Launches launches; ///< Iteration's that the graph was taken down from
    };

    /// Queues the kernels of the next iteration.
    void queue(const Iteration& iteration);
    /// began, ended: when the iteration did, by the device's clock.
    IterationStats stats_of(const ClusterStats& told, uint64_t began, uint64_t ended) const;
    /// Throws where some point got none: what comes after it means nothing then.
    void require_valid_ids(const Turn& turn) const;
    /// Of problem b after the iteration that is waited for. Returns how many there were.
    int64_t split_empty_clusters(int64_t b);
    const IterationArrays& slot_of(int64_t iteration) {
        return arrays_->slots[static_cast<size_t>(iteration % 2)];
    }
    Turn& turn_of(int64_t iteration) { return turns_[static_cast<size_t>(iteration % 2)]; }
    int64_t values() const { return workload_.k * workload_.d; }

    const SumFormat& format_;
    const Workload& workload_;
    const cudaStream_t stream_;
    Allocated<CentroidArrays> arrays_;
    Pinned<ClusterStats> stats_; ///< [2 x batch] of both turns
    Pinned<uint64_t> began_;     ///< [2] of both turns
    uint64_t ended_ = 0;         ///< when the iteration did that was waited for last
    std::array<Turn, 2> turns_;
    CentroidRules rules_;
    int64_t asked_ = 0;
    int64_t waited_ = 0;
};

CudaCentroids::CudaCentroids(const SumFormat& format, const Sums* squares, cudaStream_t stream)
    : format_(format),
      workload_(format.workload),
      stream_(stream),
      arrays_(stream, [&](Arena& arena) { return CentroidArrays(format, arena); }),
      stats_(2 * static_cast<size_t>(workload_.batch)),
      began_(2) {
    for (size_t i = 0; i < turns_.size(); i++) {
        turns_[i].stats = stats_.get() + static_cast<int64_t>(i) * workload_.batch;
        turns_[i].began = began_.get() + i;
    }
    const IterationArrays& shared = slot_of(0);
    const size_t finished_bytes = static_cast<size_t>(workload_.batch) * sizeof *shared.finished;
    check(cudaMemsetAsync(shared.finished, 0, finished_bytes, stream), "clearing counters");
    if (squares) {
        total_squares(format, squares->data, shared.squares, stream);
    }
}

void CudaCentroids::load(
        const Start& start,
        const CentroidRules& rules,
        const std::function<void(float* centroids)>& seed) {
    rules_ = rules;
    asked_ = waited_ = 0;
    for (Turn& turn : turns_) {
        turn.graph = Graph(); // its kernels have the rules as arguments
    }
    // A restart may have left an iteration running that nobody waits for.
    float* centroids = slot_of(0).centroids;
    const int64_t given = start.count * workload_.d; // values of a problem
    for (int64_t b = 0; b < workload_.batch; b++) {
        const float* from = start.given + b * given;
        copy(centroids + b * values(), from, given, cudaMemcpyHostToDevice, stream_);
    }
    seed(centroids);
    if (!start.ruled) {
        apply_rules(
                rules, workload_.batch * workload_.k, workload_.d, centroids, centroids, stream_);
    }
    if (given > 0) {
        check(cudaStreamSynchronize(stream_), "the first centroids");
    }
}

void CudaCentroids::queue(const Iteration& iteration) {
    const IterationArrays& slot = slot_of(asked_);
    iteration.assign(slot.centroids);
    write_time(slot.assigned, stream_);
    const Sums sums = iteration.sum();
    finish_iteration(sums, format_, slot, rules_, turn_of(asked_).stats, stream_);
}

/// Times are of the device's clock: events that tell them take 4 to 9 us each between kernels. An
/// iteration begins where the one before has ended, but where the device was idle until it came.
void CudaCentroids::iterate(const Iteration& iteration) {
    Turn& turn = turn_of(asked_);
    const bool replay = iteration.launches && asked_ >= kFirstReplayed;
    if (replay && (!turn.graph || turn.launches != *iteration.launches)) {
        turn.graph = Graph::capture(stream_, [&] { queue(iteration); });
        turn.launches = *iteration.launches;
    }
    turn.waits_for_host = asked_ == waited_ || turn_of(asked_ - 1).end.is_over();
    if (turn.waits_for_host) {
        write_time(turn.began, stream_);
    }
    if (replay) {
        turn.graph.launch(stream_);
    } else {
        queue(iteration);
    }
    turn.end.record(stream_);
    asked_++;
}

IterationStats CudaCentroids::stats_of(
        const ClusterStats& told, uint64_t began, uint64_t ended) const {
    const auto share = [&](uint64_t from, uint64_t to) { // of the batch, which ran as one
        const double seconds = to > from ? static_cast<double>(to - from) * 1e-9 : 0;
        return seconds / static_cast<double>(workload_.batch);
    };
    IterationStats stats;
    stats.time_search = share(began, told.assigned);
    stats.time_update = share(told.assigned, ended);
    stats.objective = told.objective;
    stats.redone = told.counts.redone;
    stats.decided = told.counts.decided;
    stats.imbalance_factor = imbalance_factor(told.squares, workload_.n, workload_.k);
    return stats;
}

Centroids::Outcome CudaCentroids::wait() {
    const Turn& turn = turn_of(waited_);
    turn.end.wait();
    require_valid_ids(turn);
    const uint64_t began = turn.waits_for_host ? *turn.began : ended_;
    ended_ = 0;
    for (int64_t b = 0; b < workload_.batch; b++) {
        ended_ = std::max(ended_, turn.stats[b].ended);
    }
    Outcome outcome{{}, false};
    for (int64_t b = 0; b < workload_.batch; b++) {
        outcome.stats.push_back(stats_of(turn.stats[b], began, ended_));
        outcome.again = outcome.again || turn.stats[b].empty > 0;
    }
    if (outcome.again) {
        // The iteration that runs already must not overtake the splits.
        check(cudaStreamSynchronize(stream_), "an iteration on the device");
        for (int64_t b = 0; b < workload_.batch; b++) {
            if (turn.stats[b].empty > 0) {
                outcome.stats[static_cast<size_t>(b)].nsplit = split_empty_clusters(b);
            }
        }
        asked_ = waited_ + 1;
    }
    waited_++;
    return outcome;
}

void CudaCentroids::require_valid_ids(const Turn& turn) const {
    for (int64_t b = 0; b < workload_.batch; b++) {
        const int64_t invalid = turn.stats[b].counts.invalid;
        if (invalid > 0) {
            throw Error(
                    "an assignment on the device found no centroid for " + std::to_string(invalid) +
                    " of n=" + std::to_string(workload_.n) + " points of problem " +
                    std::to_string(b));
        }
    }
}

/// Frozen clusters are no donors and have had the rules.
int64_t CudaCentroids::split_empty_clusters(int64_t b) {
    const int64_t first = b * workload_.k + rules_.frozen;
    const int64_t clusters = workload_.k - rules_.frozen;
    const int64_t d = workload_.d;
    const IterationArrays& found = slot_of(waited_);
    std::vector<double> weights(static_cast<size_t>(clusters));
    copy(weights.data(), found.weights + first, clusters, cudaMemcpyDeviceToHost, stream_);
    check(cudaStreamSynchronize(stream_), "an iteration on the device");
    const std::vector<Split> splits = choose_splits(clusters, workload_.n, weights.data());
    const auto count = static_cast<int64_t>(splits.size());
    float* means = found.means + first * d;
    float* next = found.next + first * d;
    copy(arrays_->splits, splits.data(), count, cudaMemcpyHostToDevice, stream_);
    apply_splits(arrays_->splits, count, d, means, stream_);
    apply_rules(rules_, clusters, d, means, next, stream_);
    check(cudaStreamSynchronize(stream_), "splitting clusters");
    return count;
}

void CudaCentroids::store(const std::vector<float*>& to) {
    download(slot_of(waited_).centroids, to, values(), stream_);
}

} // namespace

std::unique_ptr<Centroids> centroids_on_device(
        const SumFormat& format, const Sums* squares, cudaStream_t stream) {
    return std::make_unique<CudaCentroids>(format, squares, stream);
}

int64_t centroid_bytes(const SumFormat& format) {
    return bytes_of([&](Arena& arena) { return CentroidArrays(format, arena); });
}

} // namespace faiss_flash::cuda
