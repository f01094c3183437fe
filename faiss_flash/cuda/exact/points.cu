/// Budget: the rows are read three times (mean of a sample, largest magnitude, conversion), n d 4
/// bytes each, and n d 2 written: once a run, not once an iteration.
#include <faiss_flash/cuda/exact/points.h>
#include <faiss_flash/cuda/rows.h>
#include <faiss_flash/cuda/runtime/check.h>
#include <faiss_flash/cuda/exact/bounds.cuh>
#include <faiss_flash/cuda/exact/scaling.cuh>

#include <cub/block/block_reduce.cuh>

#include <cuda_fp16.h>

#include <algorithm>

namespace faiss_flash::cuda {

namespace {

constexpr int kThreads = 256;
constexpr int kReferenceThreads = 512;
constexpr int64_t kSample = 16384; // rows that make the mean: any value will do, a good one is fast

/// Mean of evenly spaced rows, in a fixed order; one block of 32 x 8 threads for 32 columns.
__global__ void mean_kernel(
        const float* rows, int64_t n, int64_t d, int64_t sample, bool integers, float* mean) {
    __shared__ double sums[8][33];
    const int64_t column = int64_t{blockIdx.x} * 32 + threadIdx.x;
    double sum = 0;
    for (int64_t i = threadIdx.y; i < sample && column < d; i += 8) {
        const float value = rows[i * n / sample * d + column];
        sum += isfinite(value) ? value : 0.0f;
    }
    sums[threadIdx.y][threadIdx.x] = sum;
    __syncthreads();
    if (threadIdx.y == 0 && column < d) {
        for (int y = 1; y < 8; y++) {
            sum += sums[y][threadIdx.x];
        }
        const double value = sum / static_cast<double>(sample);
        // Integers less an integer stay exact in f16.
        mean[column] = static_cast<float>(integers ? rint(value) : value);
    }
}

/// The largest finite |x_j - mean_j|.
__global__ void largest_kernel(
        const float* rows, const float* mean, int64_t count, int64_t d, float* largest) {
    float mine = 0;
    for (int64_t i = int64_t{blockIdx.x} * blockDim.x + threadIdx.x; i < count;
         i += int64_t{gridDim.x} * blockDim.x) {
        const float magnitude = fabsf(rows[i] - mean[i % d]);
        mine = isfinite(magnitude) ? fmaxf(mine, magnitude) : mine;
    }
    atomic_max(largest, mine);
}

/// One warp.
__global__ void scale_kernel(const float* mean, int64_t d, float* scale, float* mean_length) {
    double square = 0;
    for (int64_t j = threadIdx.x; j < d; j += 32) {
        square += double{mean[j]} * double{mean[j]};
    }
    square = warp_sum(square);
    if (threadIdx.x == 0) {
        *scale = static_cast<float>(scale_of(*scale));
        *mean_length = round_up(sqrt(square));
    }
}

/// One warp a row.
__global__ void convert_kernel(
        const float* rows,
        const float* mean,
        const float* scale,
        int64_t n,
        int d,
        int row_elements,
        __half* halves,
        float* lengths,
        float* residuals) {
    const int lane = static_cast<int>(threadIdx.x) % 32;
    const int64_t row = (int64_t{blockIdx.x} * blockDim.x + threadIdx.x) / 32;
    if (row >= n) {
        return;
    }
    const double factor = *scale;
    double square = 0;
    double residual_square = 0;
    for (int j = lane; j < row_elements; j += 32) {
        const double exact = j < d ? (double{rows[row * d + j]} - double{mean[j]}) * factor : 0.0;
        const __half value = __float2half_rn(static_cast<float>(exact));
        halves[row * row_elements + j] = value;
        const double rounded = __half2float(value);
        square += rounded * rounded;
        residual_square += (exact - rounded) * (exact - rounded);
    }
    square = warp_sum(square);
    residual_square = warp_sum(residual_square);
    if (lane == 0) {
        lengths[row] = round_up(sqrt(square));
        residuals[row] = round_up(sqrt(residual_square));
    }
}

/// 1.25 times the root of the mean square of a sample: any values are right, good ones let more
/// rows be certified.
__global__ void reference_kernel(
        const float* lengths, const float* residuals, int64_t n, int64_t sample, float* reference) {
    using Reduce = cub::BlockReduce<double, kReferenceThreads>;
    __shared__ typename Reduce::TempStorage storage;
    double sums[2] = {};
    for (int64_t i = threadIdx.x; i < sample; i += kReferenceThreads) {
        const double length = lengths[i * n / sample];
        const double residual = residuals[i * n / sample];
        const bool finite = isfinite(length) && isfinite(residual);
        sums[0] += finite ? length * length : 0;
        sums[1] += finite ? residual * residual : 0;
    }
    for (int i = 0; i < 2; i++) {
        const double sum = Reduce(storage).Sum(sums[i]);
        if (threadIdx.x == 0) {
            reference[i] = round_up(1.25 * sqrt(sum / static_cast<double>(sample)) + 1e-30);
        }
        __syncthreads();
    }
}

} // namespace

DevicePoints::DevicePoints(const Points& points, int64_t first, int64_t n, cudaStream_t stream)
    : n_(n),
      d_(points.d()),
      row_elements_(padded_columns(d_)),
      rows_(static_cast<size_t>(n * d_), stream),
      halves_(static_cast<size_t>(n * row_elements_), stream),
      mean_(static_cast<size_t>(d_), stream),
      mean_length_(1, stream),
      scale_(1, stream),
      lengths_(static_cast<size_t>(n), stream),
      residuals_(static_cast<size_t>(n), stream),
      reference_(2, stream) {
    load_rows(points, first, n, rows_.get(), d_, stream);
    const DType dtype = points.view().dtype;
    const bool integers = !points.view().decoder && (dtype == DType::u8 || dtype == DType::i8);
    mean_kernel<<<static_cast<unsigned>((d_ + 31) / 32), dim3(32, 8), 0, stream>>>(
            rows_.get(), n, d_, std::min(n, kSample), integers, mean_.get());
    check_launch("mean of the points");
    check(cudaMemsetAsync(scale_.get(), 0, sizeof(float), stream), "clearing the scale");
    const unsigned blocks = std::min(blocks_of(n * d_, kThreads), 4096u);
    largest_kernel<<<blocks, kThreads, 0, stream>>>(
            rows_.get(), mean_.get(), n * d_, d_, scale_.get());
    check_launch("largest coordinate");
    scale_kernel<<<1, 32, 0, stream>>>(mean_.get(), d_, scale_.get(), mean_length_.get());
    check_launch("scale of the points");
    convert_kernel<<<blocks_of(32 * n, kThreads), kThreads, 0, stream>>>(
            rows_.get(),
            mean_.get(),
            scale_.get(),
            n,
            static_cast<int>(d_),
            static_cast<int>(row_elements_),
            reinterpret_cast<__half*>(halves_.get()),
            lengths_.get(),
            residuals_.get());
    check_launch("converting points");
    reference_kernel<<<1, kReferenceThreads, 0, stream>>>(
            lengths_.get(), residuals_.get(), n, std::min(n, kSample), reference_.get());
    check_launch("lengths of most points");
}

} // namespace faiss_flash::cuda
