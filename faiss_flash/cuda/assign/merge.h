/// Brings the results of the parts of the centroids together.
#pragma once

#include <faiss_flash/cuda/assign/assign.h>

#include <cstdint>

namespace faiss_flash::cuda {

/// parts: arrays [splits x rows], part s before part s + 1 in the order of the ids.
void merge_splits(
        const AssignOutput& parts,
        int splits,
        int64_t rows,
        const AssignOutput& output,
        cudaStream_t stream);

} // namespace faiss_flash::cuda
