#include <faiss_flash/cuda/assign/sm90/arguments.h>
#include <faiss_flash/cuda/assign/sm90/launch.h>
#include <faiss_flash/cuda/device_info.h>
#include <faiss_flash/cuda/runtime/check.h>
#include <faiss_flash/cuda/runtime/shared_memory.h>

#include <algorithm>

namespace faiss_flash::cuda::sm90 {

const Variant* find_f16(AssignKernel kernel, int64_t d, Epilogue epilogue);
const Variant* find_bf16(AssignKernel kernel, int64_t d, Epilogue epilogue);

const Variant* find_variant(AssignKernel kernel, int64_t d, bool bf16, Epilogue epilogue) {
    return bf16 ? find_bf16(kernel, d, epilogue) : find_f16(kernel, d, epilogue);
}

void launch(
        const TensorRows& points,
        const TensorCentroids& table,
        const AssignOutput& output,
        const CandidateLists& lists,
        cudaStream_t stream,
        const AssignPlan& plan) {
    const Epilogue epilogue = lists.bars      ? Epilogue::candidates
                              : output.second ? Epilogue::second
                                              : Epilogue::best;
    const Variant* variant = find_variant(plan.kernel, points.columns, points.bf16, epilogue);
    const DeviceInfo& device = device_info();
    if (!variant || !can_map(points) || !device.runs_sm90a()) {
        throw InvalidArgument("plan: the Hopper kernel cannot take these points on this device");
    }
    const TensorRows centroids = packed_rows(
            table.rows, table.bf16, table.batch, table.k, table.row_elements, table.row_elements);

    Arguments arguments;
    arguments.points = make_tensor_map(points, variant->point_box, variant->slice_columns);
    arguments.centroids = make_tensor_map(centroids, variant->centroid_box, variant->slice_columns);
    arguments.bias = table.bias;
    arguments.bias_batch = table.padded_k;
    arguments.folded = table.folded;
    arguments.reach = table.reach;
    arguments.half_square = table.half_square;
    arguments.best = output.best;
    arguments.second = output.second;
    arguments.ids = output.ids;
    arguments.lists = lists;
    arguments.n = static_cast<int32_t>(points.rows);
    arguments.d = static_cast<int32_t>(points.columns);
    arguments.batch = static_cast<int32_t>(points.batch);
    const int64_t tiles = (table.k + variant->centroids - 1) / variant->centroids;
    const int64_t point_tiles = (points.rows + variant->points - 1) / variant->points;
    arguments.point_tiles = static_cast<int32_t>(point_tiles);
    arguments.tiles = static_cast<int32_t>(tiles);
    arguments.tiles_per_split = static_cast<int32_t>(tiles_per_split(tiles, plan.splits));
    arguments.splits = plan.splits;
    arguments.work = static_cast<int32_t>(point_tiles * points.batch * plan.splits);
    arguments.row_count = points.row_count;

    allow_all_shared_memory(variant->function);
    const int blocks = std::min(arguments.work, device.multiprocessors);
    void* parameters[] = {&arguments};
    check(cudaLaunchKernel(
                  variant->function,
                  dim3(static_cast<unsigned>(blocks)),
                  dim3(static_cast<unsigned>(variant->threads)),
                  parameters,
                  static_cast<size_t>(variant->shared_bytes),
                  stream),
          "launching the Hopper assignment kernel");
}

} // namespace faiss_flash::cuda::sm90
