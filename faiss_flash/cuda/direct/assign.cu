// Compiled without contraction: sums in float64 have the CPU backend's bits.
//
// Budget: n K (d + 1) instructions of the CUDA cores; the points once, the centroids from shared
// memory.
//
// 1. A thread has some points in registers and goes over the centroids in groups of 16, whose
//    highest score alone it keeps.
// 2. It remembers the group of the best score, and whether another comes within the margin.
// 3. If none does, that group's scores are looked at once more: mostly one is left, and certain.
// 4. Else float64 measures all centroids whose score is within the margin.
#include <faiss_flash/cuda/assign/plan.h>
#include <faiss_flash/cuda/device_info.h>
#include <faiss_flash/cuda/direct/assign.h>
#include <faiss_flash/cuda/runtime/check.h>
#include <faiss_flash/cuda/elements.cuh>
#include <faiss_flash/cuda/exact/bounds.cuh>
#include <faiss_flash/cuda/scaling.cuh>

#include <cub/block/block_reduce.cuh>

#include <algorithm>
#include <cfloat>

namespace faiss_flash::cuda {

namespace {

constexpr int kThreads = 128;
constexpr int kTableThreads = 512;
constexpr int kGroup = 16;               // centroids
constexpr int kTableBytes = 40 * 1024;   // of a tile of centroids in shared memory
constexpr double kInstructionRate = 0.7; // of the cores' peak, as measured

struct DirectArguments {
    const uint8_t* points; // [batch x n], row_bytes apart
    int64_t row_bytes;
    const float* centroids; // [batch x k x d]
    const float* mean;
    const float* mean_length;
    const float* point_scale;
    const float* rows;
    const float* bias;
    const DirectBounds* bounds;
    int64_t n;
    int32_t k, padded_k;
    int d;
    bool l2;
    int32_t* ids;
    IterationCounts* counts;
};

/// One block a problem.
__global__ void __launch_bounds__(kTableThreads) direct_table_kernel(
        const DirectArguments arguments,
        int columns,
        float* all_rows,
        float* all_bias,
        DirectBounds* bounds) {
    using Reduce = cub::BlockReduce<float, kTableThreads>;
    __shared__ typename Reduce::TempStorage storage;
    __shared__ float shared_largest;
    const int64_t problem = blockIdx.x;
    const int d = arguments.d;
    const int32_t k = arguments.k;
    const float* centroids = arguments.centroids + problem * k * d;
    const float* mean = arguments.mean + problem * d;
    float* rows = all_rows + problem * arguments.padded_k * columns;
    float* bias = all_bias + problem * arguments.padded_k;
    const auto highest = [](float a, float b) { return fmaxf(a, b); };
    float largest = 0;
    for (int32_t i = static_cast<int32_t>(threadIdx.x); i < k * d; i += kTableThreads) {
        largest = fmaxf(largest, fabsf(centroids[i] - mean[i % d]));
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
    for (int32_t c = static_cast<int32_t>(threadIdx.x); c < arguments.padded_k;
         c += kTableThreads) {
        double square = 0;
        double product = 0;
        for (int j = 0; j < columns; j++) {
            const bool exists = c < k && j < d;
            const double m = exists ? mean[j] : 0.0f;
            const double value = exists ? (double{centroids[c * d + j]} - m) * scale : 0.0;
            rows[int64_t{c} * columns + j] = static_cast<float>(value);
            square += value * value;
            product += m * value;
        }
        const double own =
                arguments.l2 ? -square * point_scale / (2 * scale) : product * point_scale;
        bias[c] = c < k ? static_cast<float>(own) : -INFINITY;
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

/// Centroids of a tile.
template <int kColumns>
constexpr int32_t kMostTile = kTableBytes / (4 * (kColumns + 1)) / kGroup* kGroup;

/// The score as every pass over the centroids finds it.
template <int kColumns>
__device__ float score_of(const float (&x)[kColumns], const float* row, float bias) {
    float score = bias;
#pragma unroll
    for (int j = 0; j < kColumns; j++) {
        score = __fmaf_rn(x[j], row[j], score);
    }
    return score;
}

template <class Element>
__device__ const Element* point_of(const DirectArguments& arguments, int64_t row) {
    return reinterpret_cast<const Element*>(arguments.points + row * arguments.row_bytes);
}

template <int kColumns, class Element>
__device__ void load_point(
        const Element* point, const float* mean, float scale, int d, float (&x)[kColumns]) {
#pragma unroll
    for (int j = 0; j < kColumns; j++) {
        x[j] = j < d ? (static_cast<float>(point[j]) - mean[j]) * scale : 0.0f;
    }
}

/// Squared distance or product, in the CPU backend's order.
template <int kColumns, class Element>
__device__ double measured(const Element* x, const float* c, int d, bool l2) {
    double lanes[8] = {};
#pragma unroll
    for (int j = 0; j < kColumns; j++) {
        if (j < d) {
            const double a = static_cast<float>(x[j]);
            const double b = c[j];
            lanes[j % 8] += l2 ? (a - b) * (a - b) : a * b;
        }
    }
    return ((lanes[0] + lanes[4]) + (lanes[2] + lanes[6])) +
           ((lanes[1] + lanes[5]) + (lanes[3] + lanes[7]));
}

/// The best in float64 of the problem's centroids first .. end - 1 whose scores reach the bar.
template <int kColumns, class Element>
__device__ __noinline__ int32_t decide_point(
        const DirectArguments& arguments,
        int64_t problem,
        int64_t row,
        float bar,
        int32_t first,
        int32_t end) {
    const int d = arguments.d;
    const auto* point = point_of<Element>(arguments, problem * arguments.n + row);
    const float* centroids = arguments.centroids + problem * arguments.k * d;
    const int64_t table = problem * arguments.padded_k;
    float x[kColumns];
    load_point(point, arguments.mean + problem * d, arguments.point_scale[problem], d, x);
    int32_t best_id = -1;
    double best = 0;
    for (int32_t c = first; c < min(end, arguments.k); c++) {
        const float* scaled = arguments.rows + (table + c) * kColumns;
        // Written so that a NaN anywhere has the centroid measured.
        if (score_of(x, scaled, arguments.bias[table + c]) < bar) {
            continue;
        }
        const double value = measured<kColumns>(point, centroids + int64_t{c} * d, d, arguments.l2);
        if (best_id < 0 || (arguments.l2 ? value < best : value > best)) {
            best_id = c;
            best = value;
        }
    }
    return best_id;
}

/// Twice the largest error of a score; not finite where scores say nothing.
__device__ float margin_of(
        double length, const DirectBounds& bounds, int d, const Float64Error& float64_error) {
    const double error = (d + 16) * 0x1p-23 * (length * bounds.length + bounds.bias) +
                         double{float64_error(round_up(length), bounds.length)} + kLeastError;
    return round_up(2.01 * error);
}

/// Blocks (i, problem): kThreads kPoints points.
template <int kColumns, int kPoints, class Element>
__global__ void __launch_bounds__(kThreads) direct_kernel(const DirectArguments arguments) {
    extern __shared__ float4 shared[];
    const int32_t tile_centroids = min(kMostTile<kColumns>, arguments.padded_k);
    auto* rows = reinterpret_cast<float*>(shared);
    float* biases = rows + tile_centroids * kColumns;
    const int64_t problem = blockIdx.y;
    const int d = arguments.d;
    const DirectBounds bounds = arguments.bounds[problem];
    const float point_scale = arguments.point_scale[problem];
    const Float64Error float64_error(
            d, arguments.l2, point_scale, bounds.scale, arguments.mean_length[problem]);
    const float* mean = arguments.mean + problem * d;
    const int64_t first_row = int64_t{blockIdx.x} * kThreads * kPoints + threadIdx.x;
    float x[kPoints][kColumns];
    float margin[kPoints];
    float best[kPoints];
    int32_t group[kPoints];
    bool open[kPoints];
#pragma unroll
    for (int p = 0; p < kPoints; p++) {
        const int64_t row = min(first_row + p * kThreads, arguments.n - 1);
        load_point(
                point_of<Element>(arguments, problem * arguments.n + row),
                mean,
                point_scale,
                d,
                x[p]);
        float square = 0;
#pragma unroll
        for (int j = 0; j < kColumns; j++) {
            square = __fmaf_rn(x[p][j], x[p][j], square);
        }
        // The root of a sum of d float32 squares, some of which may have vanished.
        margin[p] = margin_of(sqrtf(square) * (1 + 0x1p-16) + 1e-18, bounds, d, float64_error);
        best[p] = -INFINITY;
        group[p] = 0;
        open[p] = false;
    }
    const float* table_rows = arguments.rows + problem * arguments.padded_k * kColumns;
    const float* table_bias = arguments.bias + problem * arguments.padded_k;
    for (int32_t tile = 0; tile < arguments.padded_k; tile += tile_centroids) {
        const int32_t count = min(tile_centroids, arguments.padded_k - tile);
        __syncthreads(); // all have read the tile before
        const auto* from = reinterpret_cast<const float4*>(table_rows + int64_t{tile} * kColumns);
        for (int i = static_cast<int>(threadIdx.x); i < count * kColumns / 4; i += kThreads) {
            reinterpret_cast<float4*>(rows)[i] = from[i];
        }
        for (int i = static_cast<int>(threadIdx.x); i < count; i += kThreads) {
            biases[i] = table_bias[tile + i];
        }
        __syncthreads();
        for (int32_t first = 0; first < count; first += kGroup) {
            float top[kPoints];
#pragma unroll
            for (int p = 0; p < kPoints; p++) {
                top[p] = -INFINITY;
            }
#pragma unroll
            for (int c = 0; c < kGroup; c++) {
                float row[kColumns];
#pragma unroll
                for (int j = 0; j < kColumns; j += 4) {
                    *reinterpret_cast<float4*>(row + j) =
                            *reinterpret_cast<const float4*>(rows + (first + c) * kColumns + j);
                }
                const float bias = biases[first + c];
#pragma unroll
                for (int p = 0; p < kPoints; p++) {
                    top[p] = fmaxf(top[p], score_of(x[p], row, bias));
                }
            }
#pragma unroll
            for (int p = 0; p < kPoints; p++) {
                if (top[p] >= best[p] - margin[p]) {
                    open[p] = !(top[p] > best[p] + margin[p]);
                    group[p] = top[p] > best[p] ? tile + first : group[p];
                    best[p] = fmaxf(best[p], top[p]);
                }
            }
        }
    }
    int decided = 0;
#pragma unroll
    for (int p = 0; p < kPoints; p++) {
        const int64_t row = first_row + p * kThreads;
        if (row >= arguments.n) {
            continue;
        }
        float bar = best[p] - margin[p];
        int32_t begin = group[p];
        int32_t end = begin + kGroup;
        int32_t id = -1;
        int reached = 0;
        if (!(margin[p] <= FLT_MAX) || !(fabsf(bar) <= FLT_MAX)) {
            bar = -INFINITY;
            reached = 2;
        } else if (open[p]) {
            reached = 2;
        } else {
#pragma unroll 1
            for (int32_t c = begin; c < end; c++) {
                const bool reaches =
                        score_of(x[p], table_rows + int64_t{c} * kColumns, table_bias[c]) >= bar;
                id = reaches ? c : id;
                reached += reaches;
            }
        }
        if (reached != 1) {
            const bool all = bar == -INFINITY || open[p];
            id = decide_point<kColumns, Element>(
                    arguments, problem, row, bar, all ? 0 : begin, all ? arguments.k : end);
            decided++;
        }
        arguments.ids[problem * arguments.n + row] = id;
    }
    decided = __reduce_add_sync(~0u, decided);
    if (threadIdx.x % 32 == 0 && decided > 0) {
        atomicAdd(
                reinterpret_cast<unsigned long long*>(&arguments.counts[problem].decided),
                static_cast<unsigned long long>(decided));
    }
}

template <int kColumns, int kPoints, class Element>
void launch(const DirectArguments& arguments, int64_t batch, cudaStream_t stream) {
    const dim3 grid(blocks_of(arguments.n, kThreads * kPoints), static_cast<unsigned>(batch));
    const int32_t tile = std::min(kMostTile<kColumns>, arguments.padded_k);
    const auto bytes = static_cast<size_t>(tile * (kColumns + 1)) * sizeof(float);
    direct_kernel<kColumns, kPoints, Element><<<grid, kThreads, bytes, stream>>>(arguments);
}

int64_t columns_of(int64_t d) {
    return d <= 4 ? 4 : d <= 8 ? 8 : d <= 16 ? 16 : 32;
}

} // namespace

DirectCentroids::DirectCentroids(
        int64_t batch_in, int64_t k_in, int64_t d_in, Metric metric_in, Arena& arena)
    : batch(batch_in),
      k(k_in),
      d(d_in),
      metric(metric_in),
      columns(columns_of(d)),
      padded_k((k + kGroup - 1) / kGroup * kGroup),
      rows(arena.take<float>(batch * padded_k * columns)),
      bias(arena.take<float>(batch * padded_k)),
      bounds(arena.take<DirectBounds>(batch)) {}

namespace {

double direct_seconds(int64_t batch, int64_t n, int64_t k, int64_t d) {
    const DeviceInfo& device = device_info();
    const auto instructions = static_cast<double>(batch * n) * static_cast<double>(k) *
                              static_cast<double>(columns_of(d) + 1);
    const double rate = 128.0 * device.multiprocessors * device.clock * kInstructionRate;
    return 1e-5 + instructions / rate;
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
    direct_table_kernel<<<static_cast<unsigned>(table.batch), kTableThreads, 0, stream>>>(
            arguments, static_cast<int>(table.columns), table.rows, table.bias, table.bounds);
    check_launch("centroids of short rows");
    // As many points a thread as registers hold: each centroid is read from shared memory for all.
    with_element(points.dtype, [&](auto element) {
        using Element = decltype(element);
        switch (table.columns) {
            case 4:
                launch<4, 8, Element>(arguments, table.batch, stream);
                break;
            case 8:
                launch<8, 4, Element>(arguments, table.batch, stream);
                break;
            case 16:
                launch<16, 4, Element>(arguments, table.batch, stream);
                break;
            default:
                launch<32, 2, Element>(arguments, table.batch, stream);
        }
    });
    check_launch("assigning short rows");
}

} // namespace faiss_flash::cuda
