#include <faiss_flash/cuda/shard.h>

#include <faiss_flash/cuda/runtime/copy.h>
#include <faiss_flash/cuda/seeds.h>
#include <faiss_flash/cuda/update/cluster_sums.h>
#include <faiss_flash/cuda/update/row_facts.h>

#include <algorithm>
#include <utility>

namespace faiss_flash::cuda {

namespace {

/// What depends on the rows alone.
struct ShardRows {
    ShardRows(const Workload& workload, Method method, bool in_place, Arena& arena)
        : assigner(make_assigner(method, workload, in_place, arena)),
          extremes(workload.batch, workload.d, arena),
          weights(workload.weighted ? arena.take<float>(workload.n) : nullptr),
          values(workload.weighted ? arena.take<double>(workload.assigned()) : nullptr),
          ids(arena.take<int32_t>(workload.batch * workload.assigned())),
          seeds(arena.take<Seed>(workload.k)) {}

    std::unique_ptr<Assigner> assigner;
    ColumnExtremes extremes;
    float* weights; ///< [n] or null
    double* values; ///< [assigned] of weighted rows, as AssignmentArrays'; else null
    int32_t* ids;   ///< [batch x assigned]
    Seed* seeds;    ///< [k]
};

/// All is queued on one stream.
class CudaShard final : public Shard {
   public:
    CudaShard(
            const std::vector<Problem>& problems,
            const Workload& workload,
            Method method,
            AgreedFormat format,
            cudaStream_t stream)
        : workload_(with_rows(workload, problems.front().points.n())),
          all_rows_(workload.n),
          taken_{0, workload_.n},
          method_(method),
          format_(std::move(format)),
          stream_(stream),
          rows_(stream, [&](Arena& arena) {
              const bool in_place = stay_in_place(method, problems);
              return ShardRows(workload_, method, in_place, arena);
          }) {
        rows_->assigner->load(problems, stream);
        if (rows_->weights) {
            const float* weights = problems.front().weights;
            copy(rows_->weights, weights, workload_.n, cudaMemcpyHostToDevice, stream);
        }
    }
    ~CudaShard() override { cudaStreamSynchronize(stream_); }

    RowFacts scan() override {
        const DeviceRows rows = rows_->assigner->rows();
        rows_->extremes.find(rows, stream_);
        RowFacts facts = rows_->extremes.facts(stream_);
        if (!all_finite(facts)) {
            return facts;
        }
        // Goes on while the host makes a format of the facts.
        rows_->assigner->prepare(rows_->extremes, stream_);
        return rows_->weights ? find_weighted_ranges(rows, rows_->weights, stream_) : facts;
    }

    void prepare(const Format& format) override {
        double largest = 0;
        for (const ColumnRange& range : format.facts) {
            const auto weights_column = range.largest.end() - 1;
            largest = std::max(largest, *std::max_element(range.largest.begin(), weights_column));
        }
        const DeviceRows rows = rows_->assigner->rows();
        if (method_ == Method::fast && !fast_holds(rows.dtype, largest)) {
            throw BeyondFast();
        }
        sums_.emplace(stream_, [&](Arena& arena) {
            const int64_t together = workload_.assigned();
            return ClusterSums(rows, together, rows_->weights, format_(format), arena);
        });
        (*sums_)->start(stream_);
    }

    Sums squares() override { return (*sums_)->squares(); }

    void seed(const std::vector<Seed>& seeds, float* centroids) override {
        const auto count = static_cast<int64_t>(seeds.size());
        copy(rows_->seeds, seeds.data(), count, cudaMemcpyHostToDevice, stream_);
        const DeviceRows rows = rows_->assigner->rows();
        gather_seeds(rows, rows_->seeds, count, workload_.k, centroids, stream_);
        check(cudaStreamSynchronize(stream_), "the numbers of the first centroids");
    }

    void take(int64_t first, int64_t count) override { taken_ = {first, count}; }

    void assign(const float* centroids) override {
        const AssignmentArrays output{rows_->ids, rows_->values, (*sums_)->counts()};
        rows_->assigner->assign(taken_, centroids, output, stream_);
        if (rows_->values) {
            sum_values(rows_->values, taken_.count, (*sums_)->values(), stream_);
        }
    }

    Sums sum() override { return (*sums_)->run(taken_, rows_->ids, stream_); }

    std::vector<Points> rows() const override {
        const DeviceRows all = rows_->assigner->rows();
        std::vector<Points> problems;
        for (int64_t b = 0; b < all.batch; b++) {
            VectorView view;
            view.data = all.of_problem(b).data;
            view.n = all.n;
            view.d = all.d;
            view.dtype = all.dtype;
            view.space = MemorySpace::device;
            view.stream = stream_;
            view.row_stride = all.row_bytes;
            problems.emplace_back(view);
        }
        return problems;
    }

    void told(const std::vector<IterationStats>& stats) override {
        const double share = static_cast<double>(workload_.n) / static_cast<double>(all_rows_);
        std::vector<int64_t> redone;
        redone.reserve(stats.size());
        for (const IterationStats& one : stats) {
            redone.push_back(static_cast<int64_t>(static_cast<double>(one.redone) * share));
        }
        rows_->assigner->told(redone);
    }

    std::optional<Launches> launches() const override { return rows_->assigner->launches(); }

   private:
    static Workload with_rows(Workload workload, int64_t n) {
        workload.n = n;
        workload.batch_rows = std::min(workload.batch_rows, n);
        return workload;
    }

    const Workload workload_; // n: the shard's own rows
    const int64_t all_rows_;  // n of the whole
    RowRange taken_;
    const Method method_;
    const AgreedFormat format_;
    const cudaStream_t stream_;
    Allocated<ShardRows> rows_;
    std::optional<Allocated<ClusterSums>> sums_;
};

} // namespace

std::unique_ptr<Shard> open_shard(
        const std::vector<Problem>& problems,
        const Workload& workload,
        Method method,
        AgreedFormat format,
        cudaStream_t stream) {
    return std::make_unique<CudaShard>(problems, workload, method, std::move(format), stream);
}

ShardBytes shard_bytes(
        const Workload& workload, Method method, bool in_place, const SumFormat& format) {
    const DeviceRows rows{
            nullptr, rows_type(method, workload), workload.batch, workload.n, workload.d, 0};
    return {bytes_of([&](Arena& arena) { return ShardRows(workload, method, in_place, arena); }),
            bytes_of([&](Arena& arena) {
                return ClusterSums(rows, workload.assigned(), nullptr, format, arena);
            })};
}

} // namespace faiss_flash::cuda
