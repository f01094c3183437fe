/// Points of problems that the direct assigner takes, float32 on the device.
#pragma once

#include <faiss_flash/cuda/direct/assign.h>
#include <faiss_flash/cuda/scaling.h>
#include <faiss_flash/cuda/session_points.h>

#include <cstdint>
#include <vector>

namespace faiss_flash::cuda {

class DirectPoints final : public SessionPoints {
   public:
    DirectPoints(int64_t batch, int64_t n, int64_t k, int64_t d, Metric metric, Arena& arena);

    void load(const std::vector<Problem>& problems, cudaStream_t stream) override;
    UpdateRows rows() const override { return {rows_, DType::f32, batch_, n_, d_, 4 * d_}; }
    void assign(
            const float* centroids, const AssignmentArrays& output, cudaStream_t stream) override;
    bool replays() const override { return true; }

   private:
    const int64_t batch_, n_, d_;
    float* rows_; ///< [batch x n x d]
    Scaling scaling_;
    DirectTable table_;
};

} // namespace faiss_flash::cuda
