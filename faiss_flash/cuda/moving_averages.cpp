#include <faiss_flash/cuda/moving_averages.h>

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
        : averages(format, arena),
          squares(format.has_squares ? arena.take<DoubleDouble>(1) : nullptr) {}

    AverageArrays averages;
    DoubleDouble* squares; ///< one: of all points; or null
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
          averages_(arrays_->averages),
          stats_(1) {
        if (squares) {
            total_squares(format, squares->data, arrays_->squares, stream);
        }
    }
    ~CudaAverages() override { cudaStreamSynchronize(stream_); }

    void load(
            const Start& start,
            const CentroidRules& rules,
            const std::function<void(float* centroids)>& seed) override {
        const int64_t d = workload_.d;
        rules_ = rules;
        const int64_t given = start.count * d;
        copy(averages_.centroids, start.given, given, cudaMemcpyHostToDevice, stream_);
        seed(averages_.centroids);
        if (!start.ruled) {
            apply();
        }
        if (start.averages) {
            const double* usage = start.averages + d;
            copy_columns(averages_.sums, d, start.averages, d + 1, cudaMemcpyHostToDevice);
            copy_columns(averages_.usage, 1, usage, d + 1, cudaMemcpyHostToDevice);
        } else {
            begin_averages(averages_, workload_.k, d, stream_);
        }
        check(cudaStreamSynchronize(stream_), "the first centroids");
    }

    void iterate(const Iteration& iteration) override {
        const EmeansBatch& batch = iteration.batch;
        const int64_t frozen = rules_.frozen;
        if (batch.begins) {
            begin_epoch(averages_, arrays_->squares, stream_);
        }
        iteration.assign(averages_.centroids);
        write_time(averages_.assigned, stream_);
        move_averages(iteration.sum(), format_, batch, frozen, averages_, stream_);
        if (batch.revives) {
            revive(averages_, workload_.k, workload_.d, frozen, unit_scale_, batch.seed, stream_);
        }
        apply();
        last_epoch_ = batch.closes;
    }

    Outcome wait() override {
        end_epoch(averages_, format_, last_epoch_, rules_.frozen, stream_);
        if (last_epoch_) {
            apply();
        }
        copy(stats_.get(), averages_.epoch, 1, cudaMemcpyDeviceToHost, stream_);
        Event end;
        end.record(stream_);
        end.wait();
        return {{stats_of_epoch()}, false};
    }

    void store(const std::vector<float*>& to) override {
        download(averages_.centroids, to, workload_.k * workload_.d, stream_);
    }

    std::vector<double> averages() override {
        const int64_t d = workload_.d;
        std::vector<double> all(static_cast<size_t>(workload_.k * (d + 1)));
        copy_columns(all.data(), d + 1, averages_.sums, d, cudaMemcpyDeviceToHost);
        copy_columns(all.data() + d, d + 1, averages_.usage, 1, cudaMemcpyDeviceToHost);
        check(cudaStreamSynchronize(stream_), "the averages");
        return all;
    }

   private:
    void apply() {
        float* centroids = averages_.centroids;
        apply_rules(rules_, workload_.k, workload_.d, centroids, centroids, stream_);
    }

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

    IterationStats stats_of_epoch() const {
        const EpochStats& found = *stats_.get();
        if (found.counts.invalid > 0) {
            throw Error(
                    "an assignment on the device found no centroid for " +
                    std::to_string(found.counts.invalid) + " of n=" + std::to_string(workload_.n) +
                    " points");
        }
        const bool l2 = workload_.metric == Metric::l2;
        IterationStats stats;
        stats.objective = objective_of(l2, found.points, exact_value_of(found.objective));
        stats.redone = found.counts.redone;
        stats.decided = found.counts.decided;
        stats.nsplit = found.revived;
        stats.imbalance_factor = imbalance_factor(found.squares, workload_.n, workload_.k);
        stats.time_update = static_cast<double>(found.updating) * 1e-9;
        stats.time_search =
                static_cast<double>(found.ended - found.began) * 1e-9 - stats.time_update;
        return stats;
    }

    const SumFormat& format_;
    const Workload& workload_;
    const double unit_scale_;
    const cudaStream_t stream_;
    Allocated<EmeansArrays> arrays_;
    const AverageArrays& averages_; ///< of these
    Pinned<EpochStats> stats_;
    bool last_epoch_ = false;
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
