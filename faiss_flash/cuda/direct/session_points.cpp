#include <faiss_flash/cuda/direct/assign.h>
#include <faiss_flash/cuda/rows.h>
#include <faiss_flash/cuda/session_points.h>

namespace faiss_flash::cuda {

namespace {

class DirectPoints final : public SessionPoints {
   public:
    DirectPoints(
            const std::vector<Problem>& problems, int64_t k, Metric metric, cudaStream_t stream)
        : batch_(static_cast<int64_t>(problems.size())),
          n_(problems.front().points.n()),
          d_(problems.front().points.d()),
          rows_(static_cast<size_t>(batch_ * n_ * d_), stream),
          scaling_(batch_, d_, stream),
          table_(batch_, k, d_, metric, stream) {
        std::vector<Points> points;
        points.reserve(problems.size());
        for (const Problem& problem : problems) {
            points.push_back(problem.points);
        }
        load_batch(points, rows_.get(), stream);
        scaling_.find(rows_.get(), n_, values_of(points.front()), stream);
    }

    UpdateRows rows() const override { return {rows_.get(), DType::f32, batch_, n_, d_, 4 * d_}; }

    void assign(
            const float* centroids,
            int64_t /*k*/,
            Metric /*metric*/,
            const AssignmentArrays& output,
            cudaStream_t stream) override {
        assign_direct(
                rows_.get(), n_, scaling_, centroids, table_, output.ids, output.counts, stream);
    }

    bool replays() const override { return true; }

   private:
    const int64_t batch_, n_, d_;
    Buffer<float> rows_;
    Scaling scaling_;
    DirectTable table_;
};

} // namespace

std::unique_ptr<SessionPoints> direct_points(
        const std::vector<Problem>& problems, int64_t k, Metric metric, cudaStream_t stream) {
    return std::make_unique<DirectPoints>(problems, k, metric, stream);
}

} // namespace faiss_flash::cuda
