/// The centroid update on the device: weighted means by fixed-point sums (core/fixed_point.h), the
/// same bits as the CPU backend's in any order of addition.
#pragma once

#include <faiss_flash/core/fixed_point.h>
#include <faiss_flash/cuda/runtime/buffer.h>

#include <cstdint>

namespace faiss_flash::cuda {

class CentroidUpdate {
   public:
    /// points [n x d] float32 and weights [n] (null = all 1) on the device; both must outlive the
    /// update. Waits for the device: the scales are planned on the host.
    CentroidUpdate(
            const float* points, const float* weights, int64_t n, int64_t d, cudaStream_t stream);

    /// Device arrays that run() fills.
    struct Output {
        int64_t* sizes;  ///< [k]
        double* weights; ///< [k] sums of weights; written only where there are weights
        float* means;    ///< [k x d] zeros where the weight is 0
    };

    /// ids [n]: of 0 .. k - 1.
    void run(const int32_t* ids, int64_t k, const Output& output, cudaStream_t stream) const;

   private:
    int64_t columns() const { return d_ + 1; } // the last one sums the weights

    const float* points_;
    const float* weights_;
    int64_t n_, d_;
    FixedPoint format_;
    Buffer<double> scale_; ///< [columns]
};

} // namespace faiss_flash::cuda
