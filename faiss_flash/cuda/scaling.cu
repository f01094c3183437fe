/// Budget: a sample of 16384 rows is read, once a run; centroids once an assignment.
#include <faiss_flash/cuda/runtime/check.h>
#include <faiss_flash/cuda/scaling.h>
#include <faiss_flash/cuda/elements.cuh>
#include <faiss_flash/cuda/scaling.cuh>

#include <cub/block/block_reduce.cuh>

#include <algorithm>

namespace faiss_flash::cuda {

namespace {

constexpr int kThreads = 256;
constexpr int64_t kSample = 16384; // rows that make the mean: any value will do, a good one is fast
constexpr int kSampleRows = 8;     // of a block, at a time

/// Sums over a part of evenly spaced rows, in a fixed order; one block of 32 x 8 threads for 32
/// columns of a problem.
template <class Element>
__global__ void sample_kernel(const DeviceRows rows, int64_t sample, double2* sums) {
    __shared__ double2 shared[kSampleRows][33];
    const int64_t d = rows.d;
    const int64_t column = int64_t{blockIdx.x} * 32 + threadIdx.x;
    const auto* first =
            static_cast<const uint8_t*>(rows.data) + int64_t{blockIdx.z} * rows.n * rows.row_bytes;
    double2 sum{};
    for (int64_t i = int64_t{blockIdx.y} * kSampleRows + threadIdx.y; i < sample && column < d;
         i += int64_t{gridDim.y} * kSampleRows) {
        const uint8_t* row = first + i * rows.n / sample * rows.row_bytes;
        const double value = static_cast<float>(reinterpret_cast<const Element*>(row)[column]);
        sum.x += isfinite(value) ? value : 0;
        sum.y += isfinite(value) ? value * value : 0;
    }
    shared[threadIdx.y][threadIdx.x] = sum;
    __syncthreads();
    if (threadIdx.y == 0 && column < d) {
        for (int y = 1; y < kSampleRows; y++) {
            sum.x += shared[y][threadIdx.x].x;
            sum.y += shared[y][threadIdx.x].y;
        }
        sums[(int64_t{blockIdx.z} * gridDim.y + blockIdx.y) * d + column] = sum;
    }
}

struct ScaleArguments {
    const double2* sums; ///< [batch x parts x d]
    int64_t parts, sample, d;
    ColumnExtremes extremes;
    Values values;
    float *mean, *mean_length, *scale;
};

/// One block a problem.
__global__ void scale_kernel(const ScaleArguments arguments) {
    const int64_t d = arguments.d;
    const int64_t problem = blockIdx.x;
    const double2* sums = arguments.sums + problem * arguments.parts * d;
    float largest = 0;
    double square = 0;
    for (int64_t column = threadIdx.x; column < d; column += kThreads) {
        double2 sum{};
        for (int64_t part = 0; part < arguments.parts; part++) {
            sum.x += sums[part * d + column].x;
            sum.y += sums[part * d + column].y;
        }
        const auto count = static_cast<double>(arguments.sample);
        double value = sum.x / count;
        if (arguments.values == Values::integers) {
            value = rint(value);
        } else if (arguments.values == Values::halves && 5 * value * value <= sum.y / count) {
            value = 0; // within half a standard deviation: lengths grow by an eighth at most
        }
        const auto mean = static_cast<float>(value);
        const int64_t at = problem * d + column;
        const float high = of_ordered(arguments.extremes.high[at]);
        const float low = -of_ordered(arguments.extremes.low[at]);
        arguments.mean[at] = mean;
        largest = fmaxf(largest, fmaxf(high - mean, mean - low));
        square += double{mean} * double{mean};
    }
    using Squares = cub::BlockReduce<double, kThreads>;
    using Largest = cub::BlockReduce<float, kThreads>;
    __shared__ typename Squares::TempStorage square_storage;
    __shared__ typename Largest::TempStorage largest_storage;
    square = Squares(square_storage).Sum(square);
    largest =
            Largest(largest_storage).Reduce(largest, [](float a, float b) { return fmaxf(a, b); });
    if (threadIdx.x == 0) {
        // Beyond float32 only where values of either sign are: any scale is right.
        largest = fminf(largest, 0x1.fffffep127f);
        arguments.scale[problem] = static_cast<float>(scale_of(largest));
        arguments.mean_length[problem] = round_up(sqrt(square));
    }
}

/// The largest finite |c_j - mean_j| of a problem's `count` values.
__global__ void largest_kernel(
        const float* centroids, const float* mean, int64_t count, int64_t d, float* largest) {
    centroids += blockIdx.y * count;
    mean += blockIdx.y * d;
    const int64_t stride = int64_t{gridDim.x} * blockDim.x;
    int64_t i = int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
    const int64_t columns = stride % d; // a remainder for every value would take longer than it
    int64_t column = i % d;
    float mine = 0;
#pragma unroll 4
    for (; i < count; i += stride) {
        const float magnitude = fabsf(centroids[i] - mean[column]);
        mine = isfinite(magnitude) ? fmaxf(mine, magnitude) : mine;
        column += columns;
        column -= column < d ? 0 : d;
    }
    mine = warp_max(mine); // many atomics at one place take long
    if (threadIdx.x % 32 == 0) {
        atomic_max(largest + blockIdx.y, mine);
    }
}

} // namespace

Values values_of(const Points& points) {
    const DType dtype = points.view().dtype;
    if (points.view().decoder || dtype == DType::f32) {
        return Values::any;
    }
    return dtype == DType::u8 || dtype == DType::i8 ? Values::integers : Values::halves;
}

void find_largest(
        const float* centroids,
        const float* mean,
        int64_t batch,
        int64_t k,
        int64_t d,
        float* largest,
        cudaStream_t stream) {
    constexpr int kThreadValues = 16;
    const dim3 blocks(
            std::min(blocks_of(k * d, kThreads * kThreadValues), 1024u),
            static_cast<unsigned>(batch));
    largest_kernel<<<blocks, kThreads, 0, stream>>>(centroids, mean, k * d, d, largest);
    check_launch("largest coordinate");
}

Scaling::Scaling(int64_t batch_in, int64_t d_in, Arena& arena)
    : batch(batch_in),
      d(d_in),
      mean(arena.take<float>(batch * d)),
      mean_length(arena.take<float>(batch)),
      scale(arena.take<float>(batch)),
      parts_(std::clamp<int64_t>(256 / batch, 1, 32)), // enough to fill the processors
      sums_(arena.take<double2>(batch * parts_ * d)) {}

void Scaling::find(
        const DeviceRows& rows,
        const ColumnExtremes& extremes,
        Values values,
        cudaStream_t stream) {
    const auto problems = static_cast<unsigned>(batch);
    const int64_t sample = std::min(rows.n, kSample);
    const dim3 grid(blocks_of(d, 32), static_cast<unsigned>(parts_), problems);
    with_element(rows.dtype, [&](auto element) {
        sample_kernel<decltype(element)>
                <<<grid, dim3(32, kSampleRows), 0, stream>>>(rows, sample, sums_);
    });
    check_launch("mean of the points");
    const ScaleArguments arguments{
            sums_, parts_, sample, d, extremes, values, mean, mean_length, scale};
    scale_kernel<<<problems, kThreads, 0, stream>>>(arguments);
    check_launch("scale of the points");
}

} // namespace faiss_flash::cuda
