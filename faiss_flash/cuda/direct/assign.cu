// Budget of short rows' table: the centroids twice, K columns 4 bytes written.
//
// One block a problem: some lanes a centroid find the largest coordinate, then what short_rows.cu
// reads of it. long_rows.cu makes its own as it goes.
#include <faiss_flash/cuda/assign/plan.h>
#include <faiss_flash/cuda/device_info.h>
#include <faiss_flash/cuda/direct/assign.h>
#include <faiss_flash/cuda/runtime/check.h>
#include <faiss_flash/cuda/direct/arguments.cuh>
#include <faiss_flash/cuda/scaling.cuh>

#include <cub/block/block_reduce.cuh>

namespace faiss_flash::cuda {

namespace {

constexpr int kThreads = 512;
constexpr int64_t kMostShortColumns = 32;

__global__ void __launch_bounds__(kThreads) table_kernel(
        const DirectArguments arguments,
        int columns,
        float* all_rows,
        float* all_bias,
        DirectBounds* bounds) {
    using Reduce = cub::BlockReduce<float, kThreads>;
    __shared__ typename Reduce::TempStorage storage;
    __shared__ float shared_largest;
    const int64_t problem = blockIdx.x;
    const int d = arguments.d;
    const int32_t k = arguments.k;
    const float* centroids = arguments.centroids + problem * k * d;
    const float* mean = arguments.mean + problem * d;
    float* rows = all_rows + problem * arguments.padded_k * columns;
    float* bias = all_bias + problem * arguments.padded_k;
    const int lanes = min(32, columns); // of a centroid
    const int lane = static_cast<int>(threadIdx.x) % lanes;
    const int32_t first = static_cast<int32_t>(threadIdx.x) / lanes;
    const int32_t step = kThreads / lanes;
    const auto highest = [](float a, float b) { return fmaxf(a, b); };
    float largest = 0;
    for (int32_t c = first; c < k; c += step) {
#pragma unroll 4
        for (int j = lane; j < d; j += lanes) {
            largest = fmaxf(largest, fabsf(centroids[int64_t{c} * d + j] - mean[j]));
        }
    }
    largest = Reduce(storage).Reduce(largest, highest);
    if (threadIdx.x == 0) {
        shared_largest = largest;
    }
    __syncthreads();
    const double scale = scale_of(shared_largest);
    const double point_scale = arguments.point_scale[problem];
    float longest = 0;
    float largest_bias = 0;
    for (int32_t c = first; c < arguments.padded_k; c += step) { // the same for all of a warp
        double square = 0;
        double product = 0;
#pragma unroll 4
        for (int j = lane; j < columns; j += lanes) {
            const bool exists = c < k && j < d;
            const double m = exists ? mean[j] : 0.0f;
            const double value = exists ? (double{centroids[int64_t{c} * d + j]} - m) * scale : 0.0;
            rows[int64_t{c} * columns + j] = static_cast<float>(value);
            square += value * value;
            product += m * value;
        }
        for (int mask = lanes / 2; mask > 0; mask /= 2) {
            square += __shfl_xor_sync(~0u, square, mask);
            product += __shfl_xor_sync(~0u, product, mask);
        }
        const double own =
                arguments.l2 ? -square * point_scale / (2 * scale) : product * point_scale;
        if (lane == 0) {
            bias[c] = c < k ? static_cast<float>(own) : -INFINITY;
        }
        longest = fmaxf(longest, round_up(sqrt(square)));
        largest_bias = fmaxf(largest_bias, round_up(fabs(own)));
    }
    longest = Reduce(storage).Reduce(longest, highest);
    __syncthreads();
    largest_bias = Reduce(storage).Reduce(largest_bias, highest);
    if (threadIdx.x == 0) {
        bounds[problem] = {longest, largest_bias, static_cast<float>(scale)};
    }
}

int64_t columns_of(int64_t d) {
    int64_t columns = 4;
    while (columns < d) {
        columns *= 2;
    }
    return columns;
}

} // namespace

DirectCentroids::DirectCentroids(
        int64_t batch_in, int64_t k_in, int64_t d_in, Metric metric_in, Arena& arena)
    : batch(batch_in),
      k(k_in),
      d(d_in),
      metric(metric_in),
      columns(columns_of(d)),
      padded_k((k + kDirectGroup - 1) / kDirectGroup * kDirectGroup) {
    if (columns <= kMostShortColumns) {
        rows = arena.take<float>(batch * padded_k * columns);
        bias = arena.take<float>(batch * padded_k);
        bounds = arena.take<DirectBounds>(batch);
    }
}

namespace {

double direct_seconds(int64_t batch, int64_t n, int64_t k, int64_t d) {
    const DeviceInfo& device = device_info();
    const auto instructions = static_cast<double>(batch * n) * static_cast<double>(k) *
                              static_cast<double>(columns_of(d) + 1);
    // Of the cores' peak, as measured; long rows are bound by shared memory.
    const double share = columns_of(d) <= kMostShortColumns ? 0.7 : 0.35;
    return 1e-5 + instructions / (128.0 * device.multiprocessors * device.clock * share);
}

/// Of one problem by the passes of exact/assign.h, most of whose kernels have little to do.
double passes_seconds(int64_t n, int64_t k, int64_t d) {
    constexpr double kOtherKernels = 6e-5;
    constexpr double kOtherPasses = 1.3;
    const AssignShape shape{1, n, k, d, true, 16, true};
    const DeviceInfo& device = device_info();
    return kOtherKernels +
           kOtherPasses * expected_seconds(shape, choose_plan(shape, device), device);
}

} // namespace

bool direct_pays(int64_t batch, int64_t n, int64_t k, int64_t d) {
    return d <= kMostDirectColumns &&
           direct_seconds(batch, n, k, d) < static_cast<double>(batch) * passes_seconds(n, k, d);
}

double iteration_seconds(int64_t batch, int64_t n, int64_t k, int64_t d, bool fast) {
    const DeviceInfo& device = device_info();
    const double bytes = static_cast<double>(batch * n * d) * (fast ? 2 : 4);
    constexpr double kOtherKernels = 3e-5;
    const double update = kOtherKernels + 0.5 * bytes / device.bandwidth; // most points stay
    if (fast) {
        const AssignShape shape{batch, n, k, d, false, 16, true};
        return update + expected_seconds(shape, choose_plan(shape, device), device);
    }
    return update + (direct_pays(batch, n, k, d)
                             ? direct_seconds(batch, n, k, d)
                             : static_cast<double>(batch) * passes_seconds(n, k, d));
}

void assign_direct(
        const DeviceRows& points,
        const Scaling& scaling,
        const float* centroids,
        const DirectCentroids& table,
        int32_t* ids,
        IterationCounts* counts,
        cudaStream_t stream) {
    DirectArguments arguments{};
    arguments.points = static_cast<const uint8_t*>(points.data);
    arguments.row_bytes = points.row_bytes;
    arguments.dtype = points.dtype;
    arguments.centroids = centroids;
    arguments.mean = scaling.mean;
    arguments.mean_length = scaling.mean_length;
    arguments.point_scale = scaling.scale;
    arguments.rows = table.rows;
    arguments.bias = table.bias;
    arguments.bounds = table.bounds;
    arguments.n = points.n;
    arguments.k = static_cast<int32_t>(table.k);
    arguments.padded_k = static_cast<int32_t>(table.padded_k);
    arguments.d = static_cast<int>(table.d);
    arguments.l2 = table.metric == Metric::l2;
    arguments.ids = ids;
    arguments.counts = counts;
    if (table.columns > kMostShortColumns) {
        assign_long_rows(arguments, table.batch, stream);
        return;
    }
    table_kernel<<<static_cast<unsigned>(table.batch), kThreads, 0, stream>>>(
            arguments, static_cast<int>(table.columns), table.rows, table.bias, table.bounds);
    check_launch("centroids of short rows");
    assign_short_rows(arguments, table.columns, table.batch, stream);
}

} // namespace faiss_flash::cuda
