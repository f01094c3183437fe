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
#include <faiss_flash/cuda/runtime/check.h>
#include <faiss_flash/cuda/direct/arguments.cuh>
#include <faiss_flash/cuda/elements.cuh>

#include <algorithm>
#include <cfloat>

namespace faiss_flash::cuda {

namespace {

constexpr int kThreads = 128;

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

/// Blocks (i, problem): kThreads kPoints points.
template <int kColumns, int kPoints, class Element>
__global__ void __launch_bounds__(kThreads) short_rows_kernel(const DirectArguments arguments) {
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
        margin[p] = margin_of(length_of(square), bounds, d, float64_error);
        best[p] = -INFINITY;
        group[p] = 0;
        open[p] = false;
    }
    const float* table_rows = arguments.rows + problem * arguments.padded_k * kColumns;
    const float* table_bias = arguments.bias + problem * arguments.padded_k;
    for (int32_t tile = 0; tile < arguments.padded_k; tile += tile_centroids) {
        const int32_t count = min(tile_centroids, arguments.padded_k - tile);
        __syncthreads(); // all have read the tile before
        const float* from = table_rows + int64_t{tile} * kColumns;
        load_tile(from, table_bias + tile, kColumns, count, rows, biases);
        __syncthreads();
        for (int32_t first = 0; first < count; first += kDirectGroup) {
            float top[kPoints];
#pragma unroll
            for (int p = 0; p < kPoints; p++) {
                top[p] = -INFINITY;
            }
#pragma unroll
            for (int c = 0; c < kDirectGroup; c++) {
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
        int32_t end = begin + kDirectGroup;
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
    count_decided(arguments.counts + problem, decided);
}

template <int kColumns, int kPoints, class Element>
void launch(const DirectArguments& arguments, int64_t batch, cudaStream_t stream) {
    const dim3 grid(blocks_of(arguments.n, kThreads * kPoints), static_cast<unsigned>(batch));
    const int32_t tile = std::min(kMostTile<kColumns>, arguments.padded_k);
    const auto bytes = static_cast<size_t>(tile * (kColumns + 1)) * sizeof(float);
    short_rows_kernel<kColumns, kPoints, Element><<<grid, kThreads, bytes, stream>>>(arguments);
}

} // namespace

// As many points a thread as registers hold: each centroid is read from shared memory for all.
void assign_short_rows(
        const DirectArguments& arguments, int64_t columns, int64_t batch, cudaStream_t stream) {
    with_element(arguments.dtype, [&](auto element) {
        using Element = decltype(element);
        switch (columns) {
            case 4:
                launch<4, 8, Element>(arguments, batch, stream);
                break;
            case 8:
                launch<8, 4, Element>(arguments, batch, stream);
                break;
            case 16:
                launch<16, 4, Element>(arguments, batch, stream);
                break;
            default:
                launch<32, 2, Element>(arguments, batch, stream);
        }
    });
    check_launch("assigning short rows");
}

} // namespace faiss_flash::cuda
