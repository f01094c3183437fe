/// Launch of the kernel for few columns and centroids.
#pragma once

#include <faiss_flash/cuda/assign/assign.h>

namespace faiss_flash::cuda::onchip {

void launch(
        const TensorRows& points,
        const TensorCentroids& table,
        const AssignOutput& output,
        cudaStream_t stream);

} // namespace faiss_flash::cuda::onchip
