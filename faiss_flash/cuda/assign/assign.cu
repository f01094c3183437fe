#include <faiss_flash/cuda/assign/assign.h>
#include <faiss_flash/cuda/assign/sm90/arguments.h>
#include <faiss_flash/cuda/assign/sm90/launch.h>
#include <faiss_flash/cuda/device_info.h>
#include <faiss_flash/cuda/assign/sm80/kernel.cuh>

#include <algorithm>
#include <limits>
#include <string>

namespace faiss_flash::cuda {

namespace sm90 {

const Variant* find_f16(int64_t d, bool second);
const Variant* find_bf16(int64_t d, bool second);

const Variant* find_variant(int64_t d, bool bf16, bool second) {
    return bf16 ? find_bf16(d, second) : find_f16(d, second);
}

} // namespace sm90

namespace {

constexpr int64_t kTileCentroids = 128;

void launch_sm90(
        const TensorRows& points,
        const CentroidTable& table,
        const AssignOutput& output,
        cudaStream_t stream) {
    const bool second = output.second != nullptr;
    const sm90::Variant& variant = *sm90::find_variant(points.columns, points.bf16, second);
    TensorRows centroids;
    centroids.data = table.rows.get();
    centroids.bf16 = table.bf16;
    centroids.columns = table.row_elements;
    centroids.rows = table.k;
    centroids.batch = table.batch;
    centroids.row_bytes = 2 * table.row_elements;
    centroids.batch_bytes = table.k * centroids.row_bytes;

    sm90::Arguments arguments;
    arguments.points = make_tensor_map(points, variant.warpgroup_points);
    arguments.centroids = make_tensor_map(centroids, kTileCentroids);
    arguments.bias = table.bias.get();
    arguments.best = output.best;
    arguments.second = output.second;
    arguments.ids = output.ids;
    arguments.n = static_cast<int32_t>(points.rows);
    arguments.tiles = static_cast<int32_t>(table.tiles);
    arguments.point_tiles = static_cast<int32_t>((points.rows + 255) / 256);
    arguments.work = static_cast<int32_t>(arguments.point_tiles * points.batch);

    check(cudaFuncSetAttribute(
                  variant.kernel,
                  cudaFuncAttributeMaxDynamicSharedMemorySize,
                  variant.shared_bytes),
          "shared memory of the assignment kernel");
    const int blocks = std::min(arguments.work, device_info().multiprocessors);
    void* parameters[] = {&arguments};
    check(cudaLaunchKernel(
                  variant.kernel,
                  dim3(static_cast<unsigned>(blocks)),
                  dim3(static_cast<unsigned>(variant.threads)),
                  parameters,
                  static_cast<size_t>(variant.shared_bytes),
                  stream),
          "launching the Hopper assignment kernel");
}

void launch_generic(
        const TensorRows& points,
        const CentroidTable& table,
        const AssignOutput& output,
        cudaStream_t stream) {
    sm80::Arguments arguments;
    arguments.points = static_cast<const uint8_t*>(points.data);
    arguments.point_row_bytes = points.row_bytes;
    arguments.point_batch_bytes = points.batch_bytes;
    arguments.centroids = reinterpret_cast<const uint8_t*>(table.rows.get());
    arguments.centroid_row_bytes = 2 * table.row_elements;
    arguments.centroid_batch_bytes = table.k * arguments.centroid_row_bytes;
    arguments.bias = table.bias.get();
    arguments.best = output.best;
    arguments.second = output.second;
    arguments.ids = output.ids;
    arguments.n = static_cast<int32_t>(points.rows);
    arguments.k = static_cast<int32_t>(table.k);
    arguments.d = static_cast<int32_t>(points.columns);
    arguments.tiles = static_cast<int32_t>(table.tiles);
    arguments.aligned = can_map(points);

    const auto kernel =
            points.bf16 ? sm80::assign_kernel<__nv_bfloat16> : sm80::assign_kernel<__half>;
    constexpr int kShared = static_cast<int>(sizeof(sm80::Shared));
    check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, kShared),
          "shared memory of the assignment kernel");
    const dim3 grid(
            static_cast<unsigned>((points.rows + sm80::kTile - 1) / sm80::kTile),
            static_cast<unsigned>(points.batch));
    kernel<<<grid, sm80::kThreads, kShared, stream>>>(arguments);
    check_launch("launching the generic assignment kernel");
}

void require(bool holds, const std::string& text) {
    if (!holds) {
        throw InvalidArgument(text);
    }
}

} // namespace

bool can_assign(AssignKernel kernel, const TensorRows& points) {
    if (kernel != AssignKernel::sm90) {
        return device_info().major >= 8;
    }
    // sm_90a code runs on compute capability 9.0 and nothing else.
    return device_info().major == 9 && device_info().minor == 0 && can_map(points) &&
           points.rows * points.batch <= std::numeric_limits<int32_t>::max() &&
           sm90::find_variant(points.columns, points.bf16, true) != nullptr;
}

void assign(
        const TensorRows& points,
        const CentroidTable& centroids,
        const AssignOutput& output,
        cudaStream_t stream,
        AssignKernel kernel) {
    require(points.columns == centroids.d,
            "points.columns=" + std::to_string(points.columns) +
                    " does not match the centroids' d=" + std::to_string(centroids.d));
    require(points.batch == centroids.batch,
            "points.batch=" + std::to_string(points.batch) +
                    " does not match the centroids' batch=" + std::to_string(centroids.batch));
    require(points.bf16 == centroids.bf16, "points and centroids differ in type");
    constexpr int64_t kMaxRows = std::numeric_limits<int32_t>::max() - sm80::kTile;
    require(points.rows >= 0 && points.rows <= kMaxRows,
            "points.rows=" + std::to_string(points.rows) + " must be 0 to " +
                    std::to_string(kMaxRows));
    require(output.best && output.ids, "output.best or output.ids is null");
    if (points.rows == 0) {
        return;
    }
    if (kernel == AssignKernel::automatic) {
        kernel =
                can_assign(AssignKernel::sm90, points) ? AssignKernel::sm90 : AssignKernel::generic;
    }
    require(can_assign(kernel, points), "this kernel cannot take these points on this device");
    if (kernel == AssignKernel::sm90) {
        launch_sm90(points, centroids, output, stream);
    } else {
        launch_generic(points, centroids, output, stream);
    }
}

} // namespace faiss_flash::cuda
