#include <faiss_flash/cuda/exact/assign.h>
#include <faiss_flash/cuda/exact/points.h>
#include <faiss_flash/cuda/session_points.h>
#include <faiss_flash/cuda/update/reduce.h>

namespace faiss_flash::cuda {

namespace {

class ExactPoints final : public SessionPoints {
   public:
    ExactPoints(const Points& points, cudaStream_t stream)
        : points_(points, 0, points.n(), stream),
          values_(static_cast<size_t>(points.n()), stream),
          parts_(static_cast<size_t>(parts_of(points.n())), stream) {}

    UpdateRows rows() const override {
        return {points_.rows(), DType::f32, 1, points_.n(), points_.d(), 4 * points_.d()};
    }

    void assign(
            const float* centroids,
            int64_t k,
            Metric metric,
            const Assignment& output,
            cudaStream_t stream) override {
        assign_exact(
                points_, centroids, k, metric, {output.ids, values_.get(), output.decided}, stream);
        sum_parts(values_.get(), points_.n(), parts_.get(), stream);
    }

    ObjectiveParts objective() const override { return {parts_.get(), false}; }

    bool replays() const override { return false; }

   private:
    DevicePoints points_;
    Buffer<double> values_, parts_;
};

} // namespace

std::unique_ptr<SessionPoints> exact_points(const Points& points, cudaStream_t stream) {
    return std::make_unique<ExactPoints>(points, stream);
}

} // namespace faiss_flash::cuda
