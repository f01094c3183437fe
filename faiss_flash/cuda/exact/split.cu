// Budget: 2 M K 3 d operations of the tensor cores for M rows, 18 d bytes a row written and read.
#include <faiss_flash/cuda/device_info.h>
#include <faiss_flash/cuda/exact/split.h>
#include <faiss_flash/cuda/runtime/check.h>
#include <faiss_flash/cuda/exact/bounds.cuh>
#include <faiss_flash/cuda/exact/scaling.cuh>

#include <cub/block/block_reduce.cuh>

#include <cuda_fp16.h>

#include <algorithm>

namespace faiss_flash::cuda {

namespace {

constexpr int kThreads = 256;
constexpr int kTerms = 3;

constexpr double kRounded = 1 + 0x1p-9; ///< |X| or |X + X'| to |x|, |C| to |c|

/// What most rows stay below: |X|, |X'|, and what is left after both. Rows are split in float32:
/// half a unit of |x| is part of each.
struct SplitReference {
    double length, second, rest;

    __device__ explicit SplitReference(const float* reference)
        : length(reference[0]),
          second(reference[1] * (1 + 0x1p-8) + reference[0] * 0x1p-24),
          rest(reference[1] * 0x1p-10 + reference[0] * 0x1p-23) {}
};

struct Halves {
    __half first, second;
    double residual;
    __device__ explicit Halves(double exact) {
        first = __float2half_rn(static_cast<float>(exact));
        const double rest = exact - __half2float(first);
        second = __float2half_rn(static_cast<float>(rest));
        residual = rest - __half2float(second);
    }
    __device__ double second_value() const { return __half2float(second); }
};

/// Mean of the biases, in a fixed order.
__global__ void middle_kernel(const float* bias, int64_t k, double* middle) {
    using Reduce = cub::BlockReduce<double, kThreads>;
    __shared__ typename Reduce::TempStorage storage;
    double sum = 0;
    for (int64_t i = threadIdx.x; i < k; i += kThreads) {
        sum += bias[i];
    }
    sum = Reduce(storage).Sum(sum);
    if (threadIdx.x == 0) {
        *middle = sum / static_cast<double>(k);
    }
}

/// One warp a centroid: its rows, and its bias with the bound of its scores' errors for points
/// within the reference. largest: of all errors.
__global__ void split_centroids_kernel(
        const float* centroids,
        const float* mean,
        const float* reference,
        const float* plain_bias,
        const double* middle,
        const CentroidBounds* first_bounds,
        int64_t k,
        int d,
        int segment,
        __half* rows,
        float* scaled,
        float* bias,
        float* errors,
        float* largest) {
    const int lane = static_cast<int>(threadIdx.x) % 32;
    const int64_t row = (int64_t{blockIdx.x} * kThreads + threadIdx.x) / 32;
    if (row >= k) {
        return;
    }
    const double scale = scale_of(first_bounds->largest);
    __half* to = rows + row * kTerms * segment;
    double square = 0;
    double residual = 0;
    double second = 0;
    for (int j = lane; j < segment; j += 32) {
        const double exact =
                j < d ? (double{centroids[row * d + j]} - double{mean[j]}) * scale : 0.0;
        const Halves halves(exact);
        scaled[row * segment + j] = static_cast<float>(exact);
        to[j] = halves.second;
        to[segment + j] = halves.first;
        to[2 * segment + j] = halves.first;
        square += exact * exact;
        residual += halves.residual * halves.residual;
        second += halves.second_value() * halves.second_value();
    }
    square = warp_sum(square);
    residual = warp_sum(residual);
    second = warp_sum(second);
    if (lane == 0) {
        const double length = sqrt(square) * kRounded;
        const SplitReference most(reference);
        const double point = most.length * kRounded;
        const double small = point * sqrt(second) + most.second * length;
        const double steps = static_cast<double>(segment) / 16 + 1;
        // Scores are compared with each other only: a constant may go.
        const double moved = double{plain_bias[row]} - *middle;
        const double sums = kStepError * ((3 * steps + kEpilogueSteps) * (fabs(moved) + small) +
                                          (steps + kEpilogueSteps) * point * length) +
                            0x1p-23 * fabs(double{plain_bias[row]}); // is rounded itself
        const double error =
                most.rest * length + point * sqrt(residual) + most.second * sqrt(second) + sums;
        bias[row] = static_cast<float>(moved + error);
        errors[row] = round_up(error);
        atomic_max(largest, round_up(error));
    }
}

/// One warp a row of the chunk. factors: how far the row is beyond the reference; extras: errors
/// that do not depend on it.
__global__ void split_rows_kernel(
        const float* points,
        const float* mean,
        const float* scale,
        const float* mean_length,
        int d,
        int segment,
        bool l2,
        const int32_t* open,
        const int32_t* open_count,
        int32_t first,
        int32_t capacity,
        const float* reference,
        const CentroidBounds* first_bounds,
        __half* rows,
        float* factors,
        float* extras,
        int32_t* chunk_count) {
    const int lane = static_cast<int>(threadIdx.x) % 32;
    const int32_t count = max(0, min(capacity, *open_count - first));
    if (blockIdx.x == 0 && threadIdx.x == 0) {
        *chunk_count = count;
    }
    const float factor = *scale;
    const auto warp = static_cast<int32_t>((blockIdx.x * kThreads + threadIdx.x) / 32);
    for (int32_t i = warp; i < count; i += static_cast<int32_t>(gridDim.x * kThreads / 32)) {
        const int64_t row = open ? open[first + i] : first + i;
        __half* to = rows + int64_t{i} * kTerms * segment;
        float square = 0;
        float residual = 0;
        float second = 0;
#pragma unroll 4
        for (int j = lane; j < segment; j += 32) {
            // Rounded once: scaling is exact, and so are the differences below.
            const float value = j < d ? (points[row * d + j] - mean[j]) * factor : 0.0f;
            const __half first_half = __float2half_rn(value);
            const float left = value - __half2float(first_half);
            const __half second_half = __float2half_rn(left);
            const float rest = left - __half2float(second_half);
            to[j] = first_half;
            to[segment + j] = second_half;
            to[2 * segment + j] = first_half;
            square += value * value;
            residual += rest * rest;
            second += __half2float(second_half) * __half2float(second_half);
        }
        const double squares = warp_sum(static_cast<double>(square));
        const double residuals = warp_sum(static_cast<double>(residual));
        const double seconds = warp_sum(static_cast<double>(second));
        if (lane == 0) {
            // Up to d / 32 additions of float32, and values that underflow when they are squared.
            const double up = 1 + (d / 32 + 4) * 0x1p-23;
            const double tiny = d * 0x1p-60;
            const double length = sqrt(squares) * up + tiny;
            const double second_length = sqrt(seconds) * up + tiny;
            const double left = sqrt(residuals) * up + length * 0x1p-24 + tiny;
            const SplitReference most(reference);
            factors[i] = round_up(
                    larger(excess(length, most.length),
                           larger(excess(second_length, most.second), excess(left, most.rest))));
            const Float64Error float64_error(
                    d, l2, factor, scale_of(first_bounds->largest), *mean_length);
            extras[i] = round_up(2 * (float64_error(length, first_bounds->length) + kLeastError));
        }
    }
}

__global__ void certify_split_kernel(
        const float* best,
        const float* second,
        const int32_t* split_ids,
        const float* errors,
        const float* largest,
        const float* factors,
        const float* extras,
        int32_t k,
        const int32_t* open,
        int32_t first,
        const int32_t* chunk_count,
        int32_t* ids,
        int32_t* still_open,
        int32_t* still_open_count,
        bool l2,
        Decisions decisions) {
    const auto i = static_cast<int32_t>(int64_t{blockIdx.x} * kThreads + threadIdx.x);
    if (i >= *chunk_count) {
        return;
    }
    const int32_t row = open ? open[first + i] : first + i;
    const int32_t id = split_ids[i];
    ids[row] = id;
    const double factor = factors[i];
    const double own = id >= 0 && id < k ? errors[id] : *largest;
    const double error = (factor + 1) * own + (factor - 1) * *largest + double{extras[i]};
    // Written so that a NaN anywhere leaves the point open.
    if (!(double{best[i]} - double{second[i]} > error)) {
        still_open[atomicAdd(still_open_count, 1)] = row;
        decisions.values[row] = l2 ? HUGE_VAL : -HUGE_VAL;
        decisions.locks[row] = 0;
    }
}

/// Rows that are split and compared at a time. How many are open is known on the device only: what
/// chunks have nothing to do for ends at once.
int64_t chunk_rows(int64_t n) {
    constexpr int64_t kLeast = 32768;
    constexpr int64_t kChunks = 4;
    return std::min(n, std::max(kLeast, (n + kChunks - 1) / kChunks));
}

/// Few rows must fill the processors as well.
int splits_of(int64_t k) {
    return static_cast<int>(std::min<int64_t>(4, (k + 1023) / 1024));
}

} // namespace

int64_t split_bytes(int64_t n, int64_t d, int64_t k) {
    const int64_t columns = kTerms * padded_columns(d);
    const int64_t each_split = splits_of(k) > 1 ? 12 : 0; // best, second, id
    return CentroidTable::bytes(1, k, columns, false) + 4 * k +
           chunk_rows(n) * (2 * columns + 20 + splits_of(k) * each_split);
}

void assign_split(
        const DevicePoints& points,
        const ScaledCentroids& centroids,
        const OpenRows& open,
        int32_t* ids,
        const OpenRows& still_open,
        const Decisions& decisions,
        cudaStream_t stream) {
    const int64_t n = points.n();
    const int64_t d = points.d();
    const int64_t k = centroids.k;
    const int64_t segment = centroids.segment;
    CentroidTable table(1, k, kTerms * segment, false, centroids.metric, stream, false);
    check(cudaMemcpyAsync(
                  table.bias.get(),
                  centroids.padded_bias,
                  static_cast<size_t>(table.padded_k) * sizeof(float),
                  cudaMemcpyDeviceToDevice,
                  stream),
          "copying biases");
    const Buffer<float> centroid_errors(static_cast<size_t>(k), stream);
    const Buffer<float> largest(1, stream);
    check(cudaMemsetAsync(largest.get(), 0, sizeof(float), stream), "clearing bounds");
    const Buffer<double> middle(1, stream);
    middle_kernel<<<1, kThreads, 0, stream>>>(centroids.bias, k, middle.get());
    check_launch("mean of the biases");
    split_centroids_kernel<<<blocks_of(32 * k, kThreads), kThreads, 0, stream>>>(
            centroids.values,
            points.mean(),
            points.reference(),
            centroids.bias,
            middle.get(),
            centroids.bounds,
            k,
            static_cast<int>(d),
            static_cast<int>(segment),
            reinterpret_cast<__half*>(table.rows.get()),
            centroids.scaled.get(),
            table.bias.get(),
            centroid_errors.get(),
            largest.get());
    check_launch("splitting centroids");

    const int64_t capacity = chunk_rows(n);
    const auto count = static_cast<size_t>(capacity);
    const Buffer<uint16_t> halves(count * static_cast<size_t>(kTerms * segment), stream);
    const Buffer<float> factors(count, stream);
    const Buffer<float> extras(count, stream);
    const Buffer<float> best(count, stream);
    const Buffer<float> second(count, stream);
    const Buffer<int32_t> split_ids(count, stream);
    const Buffer<int32_t> chunk_count(1, stream);
    const int64_t columns = kTerms * segment;
    TensorRows rows = packed_rows(halves.get(), false, 1, capacity, columns, columns);
    rows.row_count = chunk_count.get();
    AssignPlan plan;
    plan.kernel = device_info().runs_sm90a() ? AssignKernel::streamed : AssignKernel::generic;
    plan.splits = splits_of(k);
    const unsigned row_blocks = std::min(
            blocks_of(32 * capacity, kThreads),
            static_cast<unsigned>(8 * device_info().multiprocessors));
    for (int64_t first = 0; first < n; first += capacity) {
        split_rows_kernel<<<row_blocks, kThreads, 0, stream>>>(
                points.rows(),
                points.mean(),
                points.scale(),
                points.mean_length(),
                static_cast<int>(d),
                static_cast<int>(segment),
                centroids.metric == Metric::l2,
                open.rows,
                open.count,
                static_cast<int32_t>(first),
                static_cast<int32_t>(capacity),
                points.reference(),
                centroids.bounds,
                reinterpret_cast<__half*>(halves.get()),
                factors.get(),
                extras.get(),
                chunk_count.get());
        check_launch("splitting rows");
        assign(rows, table, {best.get(), second.get(), split_ids.get()}, stream, plan);
        certify_split_kernel<<<blocks_of(capacity, kThreads), kThreads, 0, stream>>>(
                best.get(),
                second.get(),
                split_ids.get(),
                centroid_errors.get(),
                largest.get(),
                factors.get(),
                extras.get(),
                static_cast<int32_t>(k),
                open.rows,
                static_cast<int32_t>(first),
                chunk_count.get(),
                ids,
                still_open.rows,
                still_open.count,
                centroids.metric == Metric::l2,
                decisions);
        check_launch("certifying the second pass");
    }
}

} // namespace faiss_flash::cuda
