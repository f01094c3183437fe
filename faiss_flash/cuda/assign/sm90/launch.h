/// The compiled variants of the Hopper kernels, and their launch.
#pragma once

#include <faiss_flash/cuda/assign/assign.h>
#include <faiss_flash/cuda/assign/epilogue.h>

#include <cstdint>

namespace faiss_flash::cuda::sm90 {

struct Variant {
    AssignKernel kernel;
    int columns; ///< that it can take; 0 = any
    Epilogue epilogue;
    int threads;
    int shared_bytes;
    int points;    ///< of a block at a time
    int centroids; ///< of a tile
    int slice_columns;
    int point_box; ///< rows of a copy
    int centroid_box;
    const void* function = nullptr;
};

/// The kernel's variant with the fewest columns that holds d; null where there is none.
const Variant* find_variant(AssignKernel kernel, int64_t d, bool bf16, Epilogue epilogue);

/// lists: empty, or filled instead of the output. Throws InvalidArgument where no variant can run
/// these points.
void launch(
        const TensorRows& points,
        const TensorCentroids& table,
        const AssignOutput& output,
        const CandidateLists& lists,
        cudaStream_t stream,
        const AssignPlan& plan);

} // namespace faiss_flash::cuda::sm90
