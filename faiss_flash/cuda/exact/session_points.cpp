#include <faiss_flash/cuda/exact/assign.h>
#include <faiss_flash/cuda/exact/points.h>
#include <faiss_flash/cuda/rows.h>
#include <faiss_flash/cuda/session_points.h>

#include <optional>

namespace faiss_flash::cuda {

namespace {

class ExactPoints final : public SessionPoints {
   public:
    ExactPoints(int64_t n, int64_t k, int64_t d, Metric metric, Arena& arena)
        : rows_(arena.take<float>(n * d)),
          points_(rows_, n, d, arena),
          workspace_(n, d, k, metric, arena) {}

    void load(const std::vector<Problem>& problems, cudaStream_t stream) override {
        const Points& points = problems.front().points;
        load_rows(points, 0, points.n(), rows_, points.d(), stream);
        points_.prepare(points.n(), values_of(points), stream);
    }

    UpdateRows rows() const override {
        return {rows_, DType::f32, 1, points_.n(), points_.d(), 4 * points_.d()};
    }

    void assign(
            const float* centroids, const AssignmentArrays& output, cudaStream_t stream) override {
        assign_exact(
                points_,
                centroids,
                workspace_,
                {output.ids, output.values, output.counts},
                expected_,
                stream);
    }

    /// Fewer rows are open from iteration to iteration, as a rule; else no guess is safe.
    void told(const IterationStats& stats) override {
        const bool grows = stats.redone > expected_after(redone_);
        redone_ = stats.redone;
        expected_ = grows ? std::nullopt : std::make_optional(expected_after(redone_));
    }

    bool replays() const override { return false; }

   private:
    float* rows_; ///< [n x d]
    DevicePoints points_;
    ExactWorkspace workspace_;
    int64_t redone_ = -1;
    std::optional<int64_t> expected_; ///< rows that an assignment leaves open
};

} // namespace

std::unique_ptr<SessionPoints> exact_points(const Workload& workload, Metric metric, Arena& arena) {
    return std::make_unique<ExactPoints>(workload.n, workload.k, workload.d, metric, arena);
}

} // namespace faiss_flash::cuda
