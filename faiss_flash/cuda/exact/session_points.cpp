#include <faiss_flash/cuda/exact/assign.h>
#include <faiss_flash/cuda/exact/points.h>
#include <faiss_flash/cuda/session_points.h>

#include <optional>

namespace faiss_flash::cuda {

namespace {

class ExactPoints final : public SessionPoints {
   public:
    ExactPoints(const Points& points, cudaStream_t stream)
        : points_(points, 0, points.n(), stream) {}

    UpdateRows rows() const override {
        return {points_.rows(), DType::f32, 1, points_.n(), points_.d(), 4 * points_.d()};
    }

    void assign(
            const float* centroids,
            int64_t k,
            Metric metric,
            const AssignmentArrays& output,
            cudaStream_t stream) override {
        assign_exact(
                points_,
                centroids,
                k,
                metric,
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
    DevicePoints points_;
    int64_t redone_ = -1;
    std::optional<int64_t> expected_; ///< rows that an assignment leaves open
};

} // namespace

std::unique_ptr<SessionPoints> exact_points(const Points& points, cudaStream_t stream) {
    return std::make_unique<ExactPoints>(points, stream);
}

} // namespace faiss_flash::cuda
