// Compiled without contraction: sums in float64 have the CPU backend's bits.
//
// Budget: M K d multiply-adds of float32 for M points.
//
// 1. A block takes 32 points and goes over tiles of 128 centroids, a matrix product in float32
//    of the values that were rounded to 16 bits before. Its scores are off by at most
//    (d + 16) 2^-23 (|x'| C + B), C and B of the longest centroid and the largest bias.
// 2. The score of the first pass's best centroid less twice that is a bar: a centroid whose score
//    reaches it is marked, and after 16 tiles measured in float64, by eight lanes a point. The best
//    of these is the point's.
#include <faiss_flash/cuda/device_info.h>
#include <faiss_flash/cuda/exact/decide.h>
#include <faiss_flash/cuda/runtime/check.h>
#include <faiss_flash/cuda/elements.cuh>
#include <faiss_flash/cuda/exact/bounds.cuh>
#include <faiss_flash/cuda/exact/measured.cuh>
#include <faiss_flash/cuda/scaling.cuh>

namespace faiss_flash::cuda {

namespace {

constexpr int kThreads = 128;
constexpr int kGroups = kThreads / kLanes;

constexpr int kRows = 32;       // points of a block
constexpr int kCentroids = 128; // of a tile
constexpr int kSlice = 16;      // columns
constexpr int kPad = 4;         // a slice's columns start in different banks
constexpr int kThreadRows = 4;
constexpr int kMarkedTiles = 16; // before their candidates are measured
constexpr int kWords = kMarkedTiles * kCentroids / 32;

struct DecideArguments {
    const uint8_t* points; // row_bytes apart
    int64_t row_bytes;
    const float* centroids; // [k x d]
    const float* bias;      // [k]
    const CentroidBounds* bounds;
    const float* mean;
    const float* point_scale;
    const float* mean_length;
    int32_t k;
    int d;
    bool l2;
    RestRows rest;
    double* values; // [n] what the best centroid so far measures
    int32_t* locks; // [n]
    int32_t* ids;
    int32_t split; // centroids of a block: a multiple of kCentroids
};

struct DecideShared {
    float points[kSlice][kRows + kPad];
    float centroids[kSlice][kCentroids + kPad];
    uint32_t candidates[kRows][kWords + 1]; // a bit a centroid; in different banks
    float bars[kRows];
    int32_t rows[kRows]; // numbers of the points
    bool finite[kRows];
};

template <class Element>
__device__ const Element* point_of(const DecideArguments& arguments, int32_t row) {
    return reinterpret_cast<const Element*>(arguments.points + row * arguments.row_bytes);
}

/// Column j of a point or a centroid as the tensor cores have it, before it is rounded to 16 bits.
template <class Element>
__device__ float scaled_value(
        const DecideArguments& arguments, const Element* x, int j, float scale) {
    return j < arguments.d ? (static_cast<float>(x[j]) - arguments.mean[j]) * scale : 0.0f;
}

/// What a score of the point must reach to be looked at; by the lanes of a group.
template <class Element>
__device__ float bar_of(const DecideArguments& arguments, int32_t row) {
    const int32_t guess = max(0, min(arguments.k - 1, arguments.ids[row]));
    const CentroidBounds& bounds = *arguments.bounds;
    const auto centroid_scale = static_cast<float>(scale_of(bounds.largest));
    const auto* point = point_of<Element>(arguments, row);
    const float* centroid = arguments.centroids + int64_t{guess} * arguments.d;
    double square = 0;
    double product = 0;
    for (int j = static_cast<int>(threadIdx.x) % kLanes; j < arguments.d; j += kLanes) {
        const double x = scaled_value(arguments, point, j, *arguments.point_scale);
        square += x * x;
        product += x * double{scaled_value(arguments, centroid, j, centroid_scale)};
    }
    square = add_lanes(square);
    product = add_lanes(product);
    const double length = sqrt(square) * (1 + 0x1p-20);
    const Float64Error float64_error(
            arguments.d,
            arguments.l2,
            *arguments.point_scale,
            centroid_scale,
            *arguments.mean_length);
    const double error = (arguments.d + 16) * 0x1p-23 * (length * bounds.length + bounds.bias) +
                         double{float64_error(round_up(length), bounds.length)} + kLeastError;
    const double bar = product + double{arguments.bias[guess]} - 2.01 * error;
    return static_cast<float>(bar - fabs(bar) * 0x1p-23);
}

/// Products of the block's points and a tile of centroids: thread (i, j) has points 4 i ... and
/// centroids 4 j ..., 64 + 4 j .... The next slice is on its way while one is multiplied.
template <class Element>
__device__ void multiply_tile(
        const DecideArguments& arguments,
        DecideShared& shared,
        int32_t first,
        float (&sums)[kThreadRows][8]) {
    constexpr int kAtOnce = kThreads / kSlice; // rows whose columns the threads bring
    const int thread = static_cast<int>(threadIdx.x);
    const int column = thread % kSlice;
    const float point_scale = *arguments.point_scale;
    const auto centroid_scale = static_cast<float>(scale_of(arguments.bounds->largest));
    float x[kRows / kAtOnce];
    float c[kCentroids / kAtOnce];
    const auto load = [&](int slice) {
        const int j = slice + column;
#pragma unroll
        for (int i = 0; i < kRows / kAtOnce; i++) {
            const int32_t row = shared.rows[i * kAtOnce + thread / kSlice];
            x[i] = scaled_value(arguments, point_of<Element>(arguments, row), j, point_scale);
        }
#pragma unroll
        for (int i = 0; i < kCentroids / kAtOnce; i++) {
            const int32_t id = min(first + i * kAtOnce + thread / kSlice, arguments.k - 1);
            const float* centroid = arguments.centroids + int64_t{id} * arguments.d;
            c[i] = scaled_value(arguments, centroid, j, centroid_scale);
        }
    };
    load(0);
    for (int slice = 0; slice < arguments.d; slice += kSlice) {
        __syncthreads(); // all have read the slice before
#pragma unroll
        for (int i = 0; i < kRows / kAtOnce; i++) {
            shared.points[column][i * kAtOnce + thread / kSlice] = x[i];
        }
#pragma unroll
        for (int i = 0; i < kCentroids / kAtOnce; i++) {
            shared.centroids[column][i * kAtOnce + thread / kSlice] = c[i];
        }
        __syncthreads();
        if (slice + kSlice < arguments.d) {
            load(slice + kSlice);
        }
#pragma unroll
        for (int j = 0; j < kSlice; j++) {
            float a[kThreadRows];
            float b[8];
            *reinterpret_cast<float4*>(a) =
                    *reinterpret_cast<const float4*>(&shared.points[j][thread / 16 * 4]);
            *reinterpret_cast<float4*>(b) =
                    *reinterpret_cast<const float4*>(&shared.centroids[j][thread % 16 * 4]);
            *reinterpret_cast<float4*>(b + 4) =
                    *reinterpret_cast<const float4*>(&shared.centroids[j][64 + thread % 16 * 4]);
#pragma unroll
            for (int r = 0; r < kThreadRows; r++) {
#pragma unroll
                for (int i = 0; i < 8; i++) {
                    sums[r][i] = __fmaf_rn(a[r], b[i], sums[r][i]);
                }
            }
        }
    }
}

/// Marks the candidates among a thread's scores; tile: of those that are marked together.
__device__ void mark_candidates(
        const DecideArguments& arguments,
        DecideShared& shared,
        int32_t first,
        int tile,
        const float (&sums)[kThreadRows][8]) {
    const int thread = static_cast<int>(threadIdx.x);
#pragma unroll
    for (int half = 0; half < 2; half++) {
        const int place = 64 * half + thread % 16 * 4; // of the first of four centroids
#pragma unroll
        for (int r = 0; r < kThreadRows; r++) {
            const float bar = shared.bars[thread / 16 * 4 + r];
            uint32_t bits = 0;
#pragma unroll
            for (int i = 0; i < 4; i++) {
                const int32_t c = first + place + i;
                // Written so that a NaN anywhere makes a candidate.
                if (c < arguments.k && bar != INFINITY &&
                    !(sums[r][4 * half + i] + arguments.bias[c] < bar)) {
                    bits |= 1u << i;
                }
            }
            if (bits != 0) {
                const int word = tile * (kCentroids / 32) + place / 32;
                atomicOr(&shared.candidates[thread / 16 * 4 + r][word], bits << place % 32);
            }
        }
    }
}

/// Several blocks may have candidates for one point.
__device__ void keep_best(const DecideArguments& arguments, int32_t row, const Best& found) {
    int32_t* lock = arguments.locks + row;
    while (atomicCAS(lock, 0, 1) != 0) {
    }
    __threadfence();
    volatile double* value = arguments.values + row;
    volatile int32_t* id = arguments.ids + row;
    Best best{*value, *id};
    best.take(found.value, found.id, arguments.l2);
    *value = best.value;
    *id = best.id;
    __threadfence();
    atomicExch(lock, 0);
}

/// The centroids that are marked of a point, from the first of the marked tiles on.
class Marked {
   public:
    __device__ Marked(const uint32_t* words, int32_t first) : words_(words), first_(first) {}
    __device__ bool more() {
        while (bits_ == 0 && word_ < kWords - 1) {
            bits_ = words_[++word_];
        }
        return bits_ != 0;
    }
    __device__ int32_t next() {
        const int32_t id = first_ + 32 * word_ + __ffs(static_cast<int>(bits_)) - 1;
        bits_ &= bits_ - 1;
        return id;
    }

   private:
    const uint32_t* words_;
    int32_t first_;
    int word_ = -1;
    uint32_t bits_ = 0;
};

/// Measures the candidates of the marked tiles, each group those of its own points.
template <class Element>
__device__ void measure_candidates(
        const DecideArguments& arguments, DecideShared& shared, int32_t first) {
    const int lane = static_cast<int>(threadIdx.x) % kLanes;
    for (int r = static_cast<int>(threadIdx.x) / kLanes; r < kRows; r += kGroups) {
        Best best;
        take_all(
                Marked(shared.candidates[r], first),
                point_of<Element>(arguments, shared.rows[r]),
                arguments.centroids,
                arguments.k,
                arguments.d,
                arguments.l2,
                best);
        __syncwarp(group_mask());
        for (int word = lane; word < kWords; word += kLanes) {
            shared.candidates[r][word] = 0;
        }
        if (lane == 0 && best.id >= 0) {
            keep_best(arguments, shared.rows[r], best);
        }
    }
}

/// Nothing is known of the points.
__global__ void start_kernel(const DecideArguments arguments) {
    const int count = arguments.rest.count();
    for (auto i = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x); i < count;
         i += static_cast<int>(gridDim.x * blockDim.x)) {
        const int32_t row = arguments.rest.row(i);
        arguments.values[row] = arguments.l2 ? HUGE_VAL : -HUGE_VAL;
        arguments.locks[row] = 0;
    }
}

/// Blocks (i, s): points 32 i ..., the s-th part of the centroids.
template <class Element>
__global__ void __launch_bounds__(kThreads) decide_kernel(const DecideArguments arguments) {
    __shared__ DecideShared shared;
    const int thread = static_cast<int>(threadIdx.x);
    const int group = thread / kLanes;
    const int lane = thread % kLanes;
    const int count = arguments.rest.count();
    const int32_t begin = static_cast<int32_t>(blockIdx.y) * arguments.split;
    const int32_t end = min(arguments.k, begin + arguments.split);
    for (int at = static_cast<int>(blockIdx.x) * kRows; at < count;
         at += static_cast<int>(gridDim.x) * kRows) {
        if (thread < kRows) {
            shared.rows[thread] = arguments.rest.row(min(at + thread, count - 1));
            for (int word = 0; word < kWords; word++) {
                shared.candidates[thread][word] = 0;
            }
        }
        __syncthreads();
        for (int r = group; r < kRows; r += kGroups) {
            const int32_t row = shared.rows[r];
            bool finite = true;
            for (int j = lane; j < arguments.d; j += kLanes) {
                finite = finite &&
                         isfinite(static_cast<float>(point_of<Element>(arguments, row)[j]));
            }
            finite = __all_sync(group_mask(), finite);
            const float bar = bar_of<Element>(arguments, row);
            if (lane == 0) {
                // Nothing reaches it: rows that are there for others, or have no centroid.
                shared.bars[r] = finite && at + r < count ? bar : INFINITY;
                shared.finite[r] = finite;
            }
        }
        for (int32_t first = begin; first < end; first += kMarkedTiles * kCentroids) {
            for (int tile = 0; tile < kMarkedTiles && first + tile * kCentroids < end; tile++) {
                float sums[kThreadRows][8] = {};
                multiply_tile<Element>(arguments, shared, first + tile * kCentroids, sums);
                mark_candidates(arguments, shared, first + tile * kCentroids, tile, sums);
            }
            __syncthreads();
            measure_candidates<Element>(arguments, shared, first);
        }
        __syncthreads();
        if (thread < kRows && at + thread < count && !shared.finite[thread]) {
            arguments.ids[shared.rows[thread]] = -1;
        }
        __syncthreads();
    }
}

/// The value of every point's centroid, eight lanes a point.
template <class Element>
__global__ void value_kernel(
        const DeviceRows points,
        const float* centroids,
        const int32_t* ids,
        int64_t k,
        bool l2,
        double* values) {
    const int64_t row = (int64_t{blockIdx.x} * blockDim.x + threadIdx.x) / kLanes;
    if (row >= points.n) {
        return;
    }
    const int32_t id = ids[row];
    double value[1] = {nan("")};
    if (id >= 0 && id < k) {
        const auto* from = static_cast<const uint8_t*>(points.data) + row * points.row_bytes;
        const auto* x = reinterpret_cast<const Element*>(from);
        measure_all<1>(x, {centroids + int64_t{id} * points.d}, points.d, l2, value);
    }
    if (threadIdx.x % kLanes == 0) {
        values[row] = *value;
    }
}

} // namespace

RestWorkspace::RestWorkspace(int64_t n, Arena& arena)
    : values(arena.take<double>(n)), locks(arena.take<int32_t>(n)) {}

void decide_rest(
        const DevicePoints& points,
        const ExactCentroids& centroids,
        const RestRows& rest,
        int32_t* ids,
        const RestWorkspace& workspace,
        cudaStream_t stream) {
    DecideArguments arguments{};
    arguments.points = static_cast<const uint8_t*>(points.rows().data);
    arguments.row_bytes = points.rows().row_bytes;
    arguments.centroids = centroids.values;
    arguments.bias = centroids.bias;
    arguments.bounds = centroids.bounds;
    arguments.mean = points.mean();
    arguments.point_scale = points.scale();
    arguments.mean_length = points.mean_length();
    arguments.k = static_cast<int32_t>(centroids.k);
    arguments.d = static_cast<int>(points.d());
    arguments.l2 = centroids.metric == Metric::l2;
    arguments.rest = rest;
    arguments.values = workspace.values;
    arguments.locks = workspace.locks;
    arguments.ids = ids;
    const auto blocks = static_cast<unsigned>(device_info().multiprocessors);
    start_kernel<<<blocks, kThreads, 0, stream>>>(arguments);
    check_launch("preparing decisions in float64");
    // Few points are open as a rule: their centroids are shared out among blocks.
    constexpr int64_t kTilesABlock = 4;
    constexpr int64_t kMostSplits = 16;
    const int64_t tiles = (centroids.k + kCentroids - 1) / kCentroids;
    const int64_t splits = std::min(kMostSplits, (tiles + kTilesABlock - 1) / kTilesABlock);
    arguments.split = static_cast<int32_t>((tiles + splits - 1) / splits * kCentroids);
    const dim3 grid(blocks, blocks_of(centroids.k, arguments.split));
    with_element(points.rows().dtype, [&](auto element) {
        decide_kernel<decltype(element)><<<grid, kThreads, 0, stream>>>(arguments);
    });
    check_launch("deciding points in float64");
}

void measure(
        const DeviceRows& rows,
        const float* centroids,
        int64_t k,
        Metric metric,
        const int32_t* ids,
        double* values,
        cudaStream_t stream) {
    with_element(rows.dtype, [&](auto element) {
        value_kernel<decltype(element)>
                <<<blocks_of(rows.n * kLanes, kThreads), kThreads, 0, stream>>>(
                        rows, centroids, ids, k, metric == Metric::l2, values);
    });
    check_launch("values of an assignment");
}

} // namespace faiss_flash::cuda
