/// The rules of core/rules.h on the device, bit for bit.
#pragma once

#include <faiss_flash/core/rules.h>

#include <cuda_runtime_api.h>

#include <cstdint>

namespace faiss_flash::cuda {

/// centroids [rows x d]: the means after the rules but for frozen ones. They may be the same array.
void apply_rules(
        const CentroidRules& rules,
        int64_t rows,
        int64_t d,
        const float* means,
        float* centroids,
        cudaStream_t stream);

/// Of centroids [k x d]; all arrays are the device's.
void apply_splits(
        const Split* splits, int64_t count, int64_t d, float* centroids, cudaStream_t stream);

} // namespace faiss_flash::cuda
