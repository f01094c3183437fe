/// Launch of the kernel for sm_80 and later.
#pragma once

#include <faiss_flash/cuda/assign/assign.h>

namespace faiss_flash::cuda::sm80 {

/// lists: empty, or filled instead of the output.
void launch(
        const TensorRows& points,
        const TensorCentroids& table,
        const AssignOutput& output,
        const CandidateLists& lists,
        cudaStream_t stream,
        const AssignPlan& plan);

} // namespace faiss_flash::cuda::sm80
