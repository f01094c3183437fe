#include <faiss_flash/cuda/assign/sm80/launch.h>
#include <faiss_flash/cuda/runtime/check.h>
#include <faiss_flash/cuda/runtime/shared_memory.h>
#include <faiss_flash/cuda/assign/sm80/kernel.cuh>

namespace faiss_flash::cuda::sm80 {

void launch(
        const TensorRows& points,
        const TensorCentroids& table,
        const AssignOutput& output,
        const CandidateLists& lists,
        cudaStream_t stream,
        const AssignPlan& plan) {
    const int64_t tiles = (table.k + kTile - 1) / kTile;
    Arguments arguments;
    arguments.points = static_cast<const uint8_t*>(points.data);
    arguments.point_row_bytes = points.row_bytes;
    arguments.point_batch_bytes = points.batch_bytes;
    arguments.centroids = reinterpret_cast<const uint8_t*>(table.rows);
    arguments.centroid_row_bytes = 2 * table.row_elements;
    arguments.centroid_batch_bytes = table.k * arguments.centroid_row_bytes;
    arguments.bias = table.bias;
    arguments.bias_batch = table.padded_k;
    arguments.best = output.best;
    arguments.second = output.second;
    arguments.ids = output.ids;
    arguments.lists = lists;
    arguments.n = static_cast<int32_t>(points.rows);
    arguments.k = static_cast<int32_t>(table.k);
    arguments.d = static_cast<int32_t>(points.columns);
    arguments.tiles = static_cast<int32_t>(tiles);
    arguments.tiles_per_split = static_cast<int32_t>(tiles_per_split(tiles, plan.splits));
    arguments.aligned = can_map(points);
    arguments.row_count = points.row_count;

    const auto kernel = points.bf16  ? assign_kernel<__nv_bfloat16, false>
                        : lists.bars ? assign_kernel<__half, true>
                                     : assign_kernel<__half, false>;
    constexpr int kShared = static_cast<int>(sizeof(Shared));
    allow_all_shared_memory(reinterpret_cast<const void*>(kernel));
    const dim3 grid(
            static_cast<unsigned>((points.rows + kTile - 1) / kTile),
            static_cast<unsigned>(points.batch),
            static_cast<unsigned>(plan.splits));
    kernel<<<grid, kThreads, kShared, stream>>>(arguments);
    check_launch("launching the generic assignment kernel");
}

} // namespace faiss_flash::cuda::sm80
