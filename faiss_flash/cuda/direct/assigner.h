/// Problems that the direct method takes, float32 on the device.
#pragma once

#include <faiss_flash/cuda/assigner.h>
#include <faiss_flash/cuda/direct/assign.h>
#include <faiss_flash/cuda/scaling.h>

#include <cstdint>
#include <vector>

namespace faiss_flash::cuda {

class DirectAssigner final : public Assigner {
   public:
    DirectAssigner(const Workload& workload, Arena& arena);

    void load(const std::vector<Problem>& problems, cudaStream_t stream) override;
    DeviceRows rows() const override { return {rows_, DType::f32, batch_, n_, d_, 4 * d_}; }
    void assign(
            const float* centroids, const AssignmentArrays& output, cudaStream_t stream) override;

   private:
    const int64_t batch_, n_, d_;
    float* rows_; ///< [batch x n x d]
    Scaling scaling_;
    DirectCentroids table_;
};

} // namespace faiss_flash::cuda
