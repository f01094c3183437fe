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

/// Mean of evenly spaced rows, in a fixed order; one block of 32 x 8 threads for 32 columns of a
/// problem.
__global__ void mean_kernel(
        const float* rows, int64_t n, int64_t d, int64_t sample, bool integers, float* mean) {
    __shared__ double sums[8][33];
    const int64_t column = int64_t{blockIdx.x} * 32 + threadIdx.x;
    rows += blockIdx.y * n * d;
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
        mean[blockIdx.y * d + column] = static_cast<float>(integers ? rint(value) : value);
    }
}

/// The largest finite |x_j - mean_j| of a problem's `count` values.
__global__ void largest_kernel(
        const float* rows, const float* mean, int64_t count, int64_t d, float* largest) {
    rows += blockIdx.y * count;
    mean += blockIdx.y * d;
    float mine = 0;
    for (int64_t i = int64_t{blockIdx.x} * blockDim.x + threadIdx.x; i < count;
         i += int64_t{gridDim.x} * blockDim.x) {
        const float magnitude = fabsf(rows[i] - mean[i % d]);
        mine = isfinite(magnitude) ? fmaxf(mine, magnitude) : mine;
    }
    atomic_max(largest + blockIdx.y, mine);
}

/// One warp a problem.
__global__ void scale_kernel(const float* mean, int64_t d, float* scale, float* mean_length) {
    mean += blockIdx.x * d;
    scale += blockIdx.x;
    mean_length += blockIdx.x;
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

/// 1.1 times the root of the mean square of a sample: any values are right, good ones let more
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
            reference[i] = round_up(1.1 * sqrt(sum / static_cast<double>(sample)) + 1e-30);
        }
        __syncthreads();
    }
}

} // namespace

Scaling::Scaling(int64_t batch_in, int64_t d_in, cudaStream_t stream)
    : batch(batch_in),
      d(d_in),
      mean(static_cast<size_t>(batch * d), stream),
      mean_length(static_cast<size_t>(batch), stream),
      scale(static_cast<size_t>(batch), stream) {}

void Scaling::find(const float* rows, int64_t n, bool integers, cudaStream_t stream) {
    const auto problems = static_cast<unsigned>(batch);
    mean_kernel<<<dim3(blocks_of(d, 32), problems), dim3(32, 8), 0, stream>>>(
            rows, n, d, std::min(n, kSample), integers, mean.get());
    check_launch("mean of the points");
    const auto bytes = static_cast<size_t>(batch) * sizeof(float);
    check(cudaMemsetAsync(scale.get(), 0, bytes, stream), "clearing the scale");
    const dim3 blocks(std::min(blocks_of(n * d, kThreads), 4096u), problems);
    largest_kernel<<<blocks, kThreads, 0, stream>>>(rows, mean.get(), n * d, d, scale.get());
    check_launch("largest coordinate");
    scale_kernel<<<problems, 32, 0, stream>>>(mean.get(), d, scale.get(), mean_length.get());
    check_launch("scale of the points");
}

DevicePoints::DevicePoints(const Points& points, int64_t first, int64_t n, cudaStream_t stream)
    : n_(n),
      d_(points.d()),
      row_elements_(padded_columns(d_)),
      rows_(static_cast<size_t>(n * d_), stream),
      halves_(static_cast<size_t>(n * row_elements_), stream),
      scaling_(1, d_, stream),
      lengths_(static_cast<size_t>(n), stream),
      residuals_(static_cast<size_t>(n), stream),
      reference_(2, stream) {
    load_rows(points, first, n, rows_.get(), d_, stream);
    scaling_.find(rows_.get(), n, has_integers(points), stream);
    convert_kernel<<<blocks_of(32 * n, kThreads), kThreads, 0, stream>>>(
            rows_.get(),
            mean(),
            scale(),
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
