/// Rows that centroids begin as.
#pragma once

#include <faiss_flash/core/shard.h>
#include <faiss_flash/cuda/update/sum_format.h>

#include <cuda_runtime_api.h>

#include <cstdint>

namespace faiss_flash::cuda {

/// Writes rows of each problem to centroids [batch x k x d]; all arrays are the device's.
void gather_seeds(
        const DeviceRows& rows,
        const Seed* seeds,
        int64_t count,
        int64_t k,
        float* centroids,
        cudaStream_t stream);

} // namespace faiss_flash::cuda
