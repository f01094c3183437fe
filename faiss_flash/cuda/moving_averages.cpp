#include <faiss_flash/cuda/moving_averages.h>

#include <faiss_flash/cuda/assign/plan.h>
#include <faiss_flash/cuda/download.h>
#include <faiss_flash/cuda/runtime/arena.h>
#include <faiss_flash/cuda/runtime/check.h>
#include <faiss_flash/cuda/runtime/copy.h>
#include <faiss_flash/cuda/runtime/event.h>
#include <faiss_flash/cuda/runtime/pinned.h>
#include <faiss_flash/cuda/update/averages.h>
#include <faiss_flash/cuda/update/finish.h>
#include <faiss_flash/cuda/update/row_facts.h>
#include <faiss_flash/cuda/update/rules.h>

#include <algorithm>
#include <functional>
#include <string>
#include <vector>

namespace faiss_flash::cuda {

namespace {

/// Arrays on the device.
struct EmeansArrays {
    EmeansArrays(const SumFormat& format, Arena& arena)
        : iteration{}, averages{}, revival(format.workload.k, arena) {
        const int64_t k = format.workload.k;
        const int64_t d = format.workload.d;
        iteration.centroids = arena.take<float>(k * d);
        iteration.next = iteration.centroids;
        iteration.sizes = arena.take<int64_t>(k);
        iteration.weights = arena.take<double>(k);
        iteration.gains = format.workload.weighted ? nullptr : arena.take<DoubleDouble>(k);
        iteration.squares = format.has_squares ? arena.take<DoubleDouble>(1) : nullptr;
        iteration.assigned = arena.take<uint64_t>(1);
        iteration.finished = arena.take<uint32_t>(1);
        averages.usage = arena.take<double>(k);
        averages.sums = arena.take<double>(k * d);
        averages.all_sums = arena.take<long long>(format.sums.sizes());
    }

    IterationArrays iteration;
    AverageArrays averages;
    ReviveWorkspace revival;
};

/// Batches are queued on a stream; the host waits for the last of an epoch alone.
class CudaAverages final : public Centroids {
   public:
    CudaAverages(
            const SumFormat& format, double unit_scale, const Sums* squares, cudaStream_t stream)
        : format_(format),
          workload_(format.workload),
          unit_scale_(unit_scale),
          stream_(stream),
          arrays_(stream, [&](Arena& arena) { return EmeansArrays(format, arena); }),
          began_(1),
          stats_(static_cast<size_t>(ceil_div(workload_.n, workload_.batch_rows))) {
        check(cudaMemsetAsync(arrays_->iteration.finished, 0, sizeof(uint32_t), stream),
              "clearing a counter");
        if (squares) {
            total_squares(format, squares->data, arrays_->iteration.squares, stream);
            copy(&squares_, arrays_->iteration.squares, 1, cudaMemcpyDeviceToHost, stream);
            check(cudaStreamSynchronize(stream), "the points' squares");
        }
    }
    ~CudaAverages() override { cudaStreamSynchronize(stream_); }

    void load(
            const Start& start,
            const CentroidRules& rules,
            const std::function<void(float* centroids)>& seed) override {
        const int64_t k = workload_.k;
        const int64_t d = workload_.d;
        rules_ = rules;
        float* centroids = arrays_->iteration.centroids;
        copy(centroids, start.given, start.count * d, cudaMemcpyHostToDevice, stream_);
        seed(centroids);
        if (!start.ruled) {
            apply_rules(rules, k, d, centroids, centroids, stream_);
        }
        if (start.averages) {
            const AverageArrays& averages = arrays_->averages;
            copy_columns(averages.sums, d, start.averages, d + 1, cudaMemcpyHostToDevice);
            copy_columns(averages.usage, 1, start.averages + d, d + 1, cudaMemcpyHostToDevice);
        } else {
            begin_averages(centroids, k, d, arrays_->averages, stream_);
        }
        check(cudaStreamSynchronize(stream_), "the first centroids");
    }

    void iterate(const Iteration& iteration) override {
        const EmeansBatch& batch = iteration.batch;
        if (batch.begins) {
            batches_ = 0;
            write_time(began_.get(), stream_);
        }
        ClusterStats* stats = stats_.get() + batches_++;
        const IterationArrays& arrays = arrays_->iteration;
        iteration.assign(arrays.centroids);
        write_time(arrays.assigned, stream_);
        const Sums sums = iteration.sum();
        finish_batch(sums, format_, arrays, arrays_->averages, batch, rules_, stats, stream_);
        if (batch.revives) {
            revive(arrays_->averages,
                   workload_.k,
                   workload_.d,
                   rules_.frozen,
                   unit_scale_,
                   batch.seed,
                   arrays_->revival,
                   arrays.next,
                   stats,
                   stream_);
        }
        if (rules_.spherical || batch.revives) {
            apply_rules(rules_, workload_.k, workload_.d, arrays.next, arrays.next, stream_);
        }
        closes_ = batch.closes;
    }

    Outcome wait() override {
        if (closes_) {
            const IterationArrays& arrays = arrays_->iteration;
            close_averages(
                    arrays_->averages, arrays.sizes, format_, rules_.frozen, arrays.next, stream_);
            apply_rules(rules_, workload_.k, workload_.d, arrays.next, arrays.next, stream_);
        }
        Event end;
        end.record(stream_);
        end.wait();
        return {{stats_of_epoch()}, false};
    }

    void store(const std::vector<float*>& to) override {
        download(arrays_->iteration.centroids, to, workload_.k * workload_.d, stream_);
    }

    std::vector<double> averages() override {
        const int64_t d = workload_.d;
        std::vector<double> all(static_cast<size_t>(workload_.k * (d + 1)));
        const AverageArrays& averages = arrays_->averages;
        copy_columns(all.data(), d + 1, averages.sums, d, cudaMemcpyDeviceToHost);
        copy_columns(all.data() + d, d + 1, averages.usage, 1, cudaMemcpyDeviceToHost);
        check(cudaStreamSynchronize(stream_), "the averages");
        return all;
    }

   private:
    /// Rows of k clusters, as long as the shorter of both.
    void copy_columns(
            double* to, int64_t to_row, const double* from, int64_t from_row, cudaMemcpyKind kind) {
        const auto bytes = [](int64_t values) { return static_cast<size_t>(values) * sizeof *to; };
        check(cudaMemcpy2DAsync(
                      to,
                      bytes(to_row),
                      from,
                      bytes(from_row),
                      bytes(std::min(to_row, from_row)),
                      static_cast<size_t>(workload_.k),
                      kind,
                      stream_),
              "copying averages");
    }

    /// Of the batches' in their order: sums of floating point have the host's bits.
    IterationStats stats_of_epoch() const {
        IterationStats stats;
        DoubleDouble gains{};
        double values = 0;
        uint64_t began = *began_.get();
        for (int64_t i = 0; i < batches_; i++) {
            const ClusterStats& batch = stats_.get()[i];
            if (batch.counts.invalid > 0) {
                throw Error(
                        "an assignment on the device found no centroid for " +
                        std::to_string(batch.counts.invalid) + " points of a batch");
            }
            gains = add(gains, batch.gains);
            values += batch.objective;
            stats.redone += batch.counts.redone;
            stats.decided += batch.counts.decided;
            stats.nsplit += batch.revived;
            stats.time_search += static_cast<double>(batch.assigned - began) * 1e-9;
            stats.time_update += static_cast<double>(batch.ended - batch.assigned) * 1e-9;
            began = batch.ended;
        }
        const bool l2 = workload_.metric == Metric::l2;
        stats.objective = workload_.weighted ? values : objective_of(l2, squares_, gains);
        const ClusterStats& last = stats_.get()[batches_ - 1];
        stats.imbalance_factor = imbalance_factor(last.squares, workload_.n, workload_.k);
        return stats;
    }

    const SumFormat& format_;
    const Workload& workload_;
    const double unit_scale_;
    const cudaStream_t stream_;
    Allocated<EmeansArrays> arrays_;
    DoubleDouble squares_{};     ///< of the points: l2 without weights
    Pinned<uint64_t> began_;     ///< when the epoch did, by the device's clock
    Pinned<ClusterStats> stats_; ///< of each of its batches
    int64_t batches_ = 0;        ///< that are queued
    bool closes_ = false;        ///< the last epoch
    CentroidRules rules_;
};

} // namespace

std::unique_ptr<Centroids> averages_on_device(
        const SumFormat& format, double unit_scale, const Sums* squares, cudaStream_t stream) {
    return std::make_unique<CudaAverages>(format, unit_scale, squares, stream);
}

int64_t average_bytes(const SumFormat& format) {
    return bytes_of([&](Arena& arena) { return EmeansArrays(format, arena); });
}

} // namespace faiss_flash::cuda
