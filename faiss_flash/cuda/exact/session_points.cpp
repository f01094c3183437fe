#include <faiss_flash/cuda/exact/assign.h>
#include <faiss_flash/cuda/exact/points.h>
#include <faiss_flash/cuda/session_points.h>
#include <faiss_flash/cuda/update/reduce.h>

#include <optional>

namespace faiss_flash::cuda {

namespace {

class ExactPoints final : public SessionPoints {
   public:
    ExactPoints(const Points& points, Metric metric, bool weighted, cudaStream_t stream)
        : points_(points, 0, points.n(), stream),
          measures_(weighted),
          values_(static_cast<size_t>(weighted ? points.n() : 1), stream),
          parts_(static_cast<size_t>(parts_of(points.n())), stream) {
        const int64_t n = points.n();
        const int64_t d = points.d();
        sum_squares(metric, points_.rows(), d, 1, n, d, points_.mean(), parts_.get(), stream);
    }

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
                {output.ids, measures_ ? values_.get() : nullptr, output.counts},
                expected_,
                stream);
        if (measures_) {
            sum_parts(values_.get(), points_.n(), parts_.get(), stream);
        }
    }

    /// Fewer rows are open from iteration to iteration, as a rule; else no guess is safe.
    void told(const IterationStats& stats) override {
        const bool grows = stats.redone > expected_after(redone_);
        redone_ = stats.redone;
        expected_ = grows ? std::nullopt : std::make_optional(expected_after(redone_));
    }

    ObjectiveParts objective() const override { return {parts_.get(), !measures_, points_.mean()}; }

    bool replays() const override { return false; }

   private:
    DevicePoints points_;
    const bool measures_; ///< every point's value, for the objective
    Buffer<double> values_, parts_;
    int64_t redone_ = -1;
    std::optional<int64_t> expected_; ///< rows that an assignment leaves open
};

} // namespace

std::unique_ptr<SessionPoints> exact_points(
        const Points& points, Metric metric, bool weighted, cudaStream_t stream) {
    return std::make_unique<ExactPoints>(points, metric, weighted, stream);
}

} // namespace faiss_flash::cuda
