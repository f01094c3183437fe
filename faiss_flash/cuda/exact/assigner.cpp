#include <faiss_flash/cuda/assign/plan.h>
#include <faiss_flash/cuda/assigner.h>
#include <faiss_flash/cuda/exact/assign.h>
#include <faiss_flash/cuda/exact/points.h>
#include <faiss_flash/cuda/rows.h>

namespace faiss_flash::cuda {

namespace {

/// Of one problem.
struct ExactRows {
    DevicePoints points;
    int64_t redone = -1;             ///< of the last iteration that the host has seen
    std::optional<int64_t> expected; ///< rows that an assignment leaves open
};

class ExactAssigner final : public Assigner {
   public:
    ExactAssigner(const Workload& workload, bool in_place, Arena& arena)
        : batch_(workload.batch),
          d_(workload.d),
          k_(workload.k),
          in_batches_(workload.batch_rows > 0),
          rows_(workload, in_place, arena),
          workspace_(workload.assigned(), d_, k_, workload.metric, arena) {
        for (int64_t b = 0; b < batch_; b++) {
            problems_.push_back({DevicePoints(workload.n, d_, arena), -1, {}});
        }
    }

    void load(const std::vector<Problem>& problems, cudaStream_t stream) override {
        rows_.load(problems, stream);
        values_ = values_of(problems.front().points);
    }

    DeviceRows rows() const override { return rows_.get(); }

    void prepare(const ColumnExtremes& extremes, cudaStream_t stream) override {
        for (int64_t b = 0; b < batch_; b++) {
            problems_[static_cast<size_t>(b)].points.prepare(
                    rows().of_problem(b), extremes.of_problem(b), values_, stream);
        }
    }

    void assign(
            const RowRange& rows,
            const float* centroids,
            const AssignmentArrays& output,
            cudaStream_t stream) override {
        // A batch has not been seen before: one in so many rows may be open, all of the first,
        // whose centroids are points.
        constexpr int64_t kOpen = 4;
        const int64_t open = assigned_batch_ ? ceil_div(rows.count, kOpen) : rows.count;
        assigned_batch_ = in_batches_;
        for (int64_t b = 0; b < batch_; b++) {
            const ExactRows& problem = problems_[static_cast<size_t>(b)];
            double* values = output.values ? output.values + b * rows.count : nullptr;
            assign_exact(
                    problem.points.part(rows),
                    centroids + b * k_ * d_,
                    workspace_,
                    {output.ids + b * rows.count, values, output.counts + b},
                    in_batches_ ? open : problem.expected,
                    stream);
        }
    }

    /// Fewer rows are open from iteration to iteration, as a rule; else no guess is safe.
    void told(const std::vector<int64_t>& redone) override {
        for (size_t b = 0; b < problems_.size(); b++) {
            ExactRows& problem = problems_[b];
            const bool grows = redone[b] > expected_after(problem.redone);
            problem.redone = redone[b];
            problem.expected = grows ? std::nullopt : std::make_optional(expected_after(redone[b]));
        }
    }

    /// What is expected decides about nothing but the number of passes.
    std::optional<Launches> launches() const override {
        Launches passes;
        for (const ExactRows& problem : problems_) {
            if (!problem.expected) {
                return std::nullopt;
            }
            passes.push_back(listing_passes(workspace_, problem.points.n(), *problem.expected));
        }
        return passes;
    }

   private:
    const int64_t batch_, d_, k_;
    const bool in_batches_;
    bool assigned_batch_ = false; // one
    LoadedRows rows_;
    Values values_ = Values::any;
    ExactWorkspace workspace_;
    std::vector<ExactRows> problems_;
};

} // namespace

std::unique_ptr<Assigner> exact_assigner(const Workload& workload, bool in_place, Arena& arena) {
    return std::make_unique<ExactAssigner>(workload, in_place, arena);
}

} // namespace faiss_flash::cuda
