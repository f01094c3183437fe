/// The means of clusters from their fixed-point sums.
#pragma once

#include <faiss_flash/core/shard.h>
#include <faiss_flash/cuda/update/sum_format.h>

#include <cuda_runtime_api.h>

#include <cstdint>

namespace faiss_flash::cuda {

/// Device arrays of what sums come to.
struct ClusterMeans {
    int64_t* sizes;      ///< [batch x k]
    double* weights;     ///< [batch x k] sums of weights; equal to sizes without weights
    float* means;        ///< [batch x k x d] zeros where the weight is 0
    DoubleDouble* gains; ///< [batch x k] what they add to the objective (core/objective.h), or null
};

/// Fills them from sums in the format, and clears the clusters' unless they are kept. Sums are
/// rounded to float64 once, means to float32 once.
/// centroids [batch x k x d]: those that the points were assigned to; for the gains.
void find_means(
        const Sums& sums,
        const SumFormat& format,
        const float* centroids,
        const ClusterMeans& output,
        cudaStream_t stream);

} // namespace faiss_flash::cuda
