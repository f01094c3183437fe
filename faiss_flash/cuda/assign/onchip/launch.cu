#include <faiss_flash/cuda/assign/onchip/launch.h>
#include <faiss_flash/cuda/runtime/check.h>
#include <faiss_flash/cuda/runtime/shared_memory.h>
#include <faiss_flash/cuda/assign/onchip/kernel.cuh>

#include <algorithm>

namespace faiss_flash::cuda::onchip {

namespace {

using Kernel = void (*)(Arguments);

template <class Element>
Kernel kernel_of(bool second) {
    return second ? assign_kernel<Element, true> : assign_kernel<Element, false>;
}

} // namespace

void launch(
        const TensorRows& points,
        const TensorCentroids& table,
        const AssignOutput& output,
        cudaStream_t stream) {
    Arguments arguments;
    arguments.points = static_cast<const uint8_t*>(points.data);
    arguments.point_row_bytes = points.row_bytes;
    arguments.point_batch_bytes = points.batch_bytes;
    arguments.centroids = table.rows;
    arguments.row_elements = table.row_elements;
    arguments.bias = table.bias;
    arguments.bias_batch = table.padded_k;
    arguments.best = output.best;
    arguments.second = output.second;
    arguments.ids = output.ids;
    arguments.n = static_cast<int32_t>(points.rows);
    arguments.k = static_cast<int32_t>(table.k);
    arguments.d = static_cast<int32_t>(points.columns);
    arguments.groups =
            static_cast<int32_t>((table.k + OnchipTile::kCentroids - 1) / OnchipTile::kCentroids);

    const bool second = output.second != nullptr;
    const Kernel kernel =
            points.bf16 ? kernel_of<__nv_bfloat16>(second) : kernel_of<__half>(second);
    const int shared = arguments.groups * OnchipTile::kGroupBytes;
    allow_all_shared_memory(reinterpret_cast<const void*>(kernel));
    const int64_t useful = (points.rows + OnchipTile::kPoints - 1) / OnchipTile::kPoints;
    const int64_t running = OnchipTile::kBlocks * device_info().multiprocessors;
    const int64_t blocks = std::min(useful, std::max<int64_t>(1, running / points.batch));
    const dim3 grid(static_cast<unsigned>(blocks), static_cast<unsigned>(points.batch));
    kernel<<<grid, OnchipTile::kThreads, static_cast<size_t>(shared), stream>>>(arguments);
    check_launch("launching the on-chip assignment kernel");
}

} // namespace faiss_flash::cuda::onchip
