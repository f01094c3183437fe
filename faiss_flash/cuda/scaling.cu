/// Budget: a sample of the rows is read, then all of them, n d 4 bytes: once a run, not once an
/// iteration.
#include <faiss_flash/cuda/runtime/check.h>
#include <faiss_flash/cuda/scaling.h>
#include <faiss_flash/cuda/scaling.cuh>

#include <algorithm>

namespace faiss_flash::cuda {

namespace {

constexpr int kThreads = 256;
constexpr int64_t kSample = 16384; // rows that make the mean: any value will do, a good one is fast

/// Mean of evenly spaced rows, in a fixed order; one block of 32 x 8 threads for 32 columns of a
/// problem.
__global__ void column_mean_kernel(
        const float* rows, int64_t n, int64_t d, int64_t sample, Values values, float* mean) {
    __shared__ double2 sums[8][33]; // and squares
    const int64_t column = int64_t{blockIdx.x} * 32 + threadIdx.x;
    rows += blockIdx.y * n * d;
    double2 sum{};
    for (int64_t i = threadIdx.y; i < sample && column < d; i += 8) {
        const double value = rows[i * n / sample * d + column];
        sum.x += isfinite(value) ? value : 0;
        sum.y += isfinite(value) ? value * value : 0;
    }
    sums[threadIdx.y][threadIdx.x] = sum;
    __syncthreads();
    if (threadIdx.y == 0 && column < d) {
        for (int y = 1; y < 8; y++) {
            sum.x += sums[y][threadIdx.x].x;
            sum.y += sums[y][threadIdx.x].y;
        }
        const auto count = static_cast<double>(sample);
        double value = sum.x / count;
        if (values == Values::integers) {
            value = rint(value);
        } else if (values == Values::halves && 5 * value * value <= sum.y / count) {
            value = 0; // within half a standard deviation: lengths grow by an eighth at most
        }
        mean[blockIdx.y * d + column] = static_cast<float>(value);
    }
}

/// The largest finite |x_j - mean_j| of a problem's `count` values.
__global__ void largest_kernel(
        const float* rows, const float* mean, int64_t count, int64_t d, float* largest) {
    rows += blockIdx.y * count;
    mean += blockIdx.y * d;
    const int64_t stride = int64_t{gridDim.x} * blockDim.x;
    int64_t i = int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
    const int64_t columns = stride % d; // a remainder for every value would take longer than it
    int64_t column = i % d;
    float mine = 0;
#pragma unroll 4
    for (; i < count; i += stride) {
        const float magnitude = fabsf(rows[i] - mean[column]);
        mine = isfinite(magnitude) ? fmaxf(mine, magnitude) : mine;
        column += columns;
        column -= column < d ? 0 : d;
    }
    mine = warp_max(mine); // many atomics at one place take long
    if (threadIdx.x % 32 == 0) {
        atomic_max(largest + blockIdx.y, mine);
    }
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

} // namespace

Values values_of(const Points& points) {
    const DType dtype = points.view().dtype;
    if (points.view().decoder || dtype == DType::f32) {
        return Values::any;
    }
    return dtype == DType::u8 || dtype == DType::i8 ? Values::integers : Values::halves;
}

void find_largest(
        const float* rows,
        const float* mean,
        int64_t batch,
        int64_t n,
        int64_t d,
        float* largest,
        cudaStream_t stream) {
    constexpr int kThreadValues = 16;
    const dim3 blocks(
            std::min(blocks_of(n * d, kThreads * kThreadValues), 1024u),
            static_cast<unsigned>(batch));
    largest_kernel<<<blocks, kThreads, 0, stream>>>(rows, mean, n * d, d, largest);
    check_launch("largest coordinate");
}

Scaling::Scaling(int64_t batch_in, int64_t d_in, Arena& arena)
    : batch(batch_in),
      d(d_in),
      mean(arena.take<float>(batch * d)),
      mean_length(arena.take<float>(batch)),
      scale(arena.take<float>(batch)) {}

void Scaling::find(const float* rows, int64_t n, Values values, cudaStream_t stream) {
    const auto problems = static_cast<unsigned>(batch);
    column_mean_kernel<<<dim3(blocks_of(d, 32), problems), dim3(32, 8), 0, stream>>>(
            rows, n, d, std::min(n, kSample), values, mean);
    check_launch("mean of the points");
    const auto bytes = static_cast<size_t>(batch) * sizeof(float);
    check(cudaMemsetAsync(scale, 0, bytes, stream), "clearing the scale");
    find_largest(rows, mean, batch, n, d, scale, stream);
    scale_kernel<<<problems, 32, 0, stream>>>(mean, d, scale, mean_length);
    check_launch("scale of the points");
}

} // namespace faiss_flash::cuda
