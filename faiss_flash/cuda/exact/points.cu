/// Budget: the rows are read twice (scaling.cu, conversion), n d 4 bytes each, and n d 2 written:
/// once a run, not once an iteration.
#include <faiss_flash/cuda/exact/points.h>
#include <faiss_flash/cuda/runtime/check.h>
#include <faiss_flash/cuda/exact/bounds.cuh>
#include <faiss_flash/cuda/exact/row_size.cuh>
#include <faiss_flash/cuda/scaling.cuh>

#include <cub/block/block_reduce.cuh>

#include <cuda_fp16.h>

#include <algorithm>

namespace faiss_flash::cuda {

namespace {

constexpr int kThreads = 256;
constexpr int kReferenceThreads = 512;
constexpr int64_t kSample = 16384; // rows that make the reference

/// One warp a row.
__global__ void convert_kernel(
        const float* rows,
        const float* mean,
        const float* scale,
        int64_t n,
        int d,
        int row_elements,
        __half* halves,
        uint32_t* sizes) {
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
        sizes[row] = packed_size(round_up(sqrt(square)), round_up(sqrt(residual_square)));
    }
}

/// 1.1 times the root of the mean square of a sample: any values are right, good ones let more
/// rows be certified.
__global__ void reference_kernel(
        const uint32_t* sizes, int64_t n, int64_t sample, float* reference) {
    using Reduce = cub::BlockReduce<double, kReferenceThreads>;
    __shared__ typename Reduce::TempStorage storage;
    double sums[2] = {};
    for (int64_t i = threadIdx.x; i < sample; i += kReferenceThreads) {
        const RowSize size = row_size(sizes[i * n / sample]);
        const double length = size.length;
        const double residual = size.residual;
        const bool finite = isfinite(length) && isfinite(residual);
        sums[0] += finite ? length * length : 0;
        sums[1] += finite ? residual * residual : 0;
    }
    double least = 1e-30;
    for (int i = 0; i < 2; i++) {
        const double sum = Reduce(storage).Sum(sums[i]);
        if (threadIdx.x == 0) {
            const double value = 1.1 * sqrt(sum / static_cast<double>(sample)) + least;
            reference[i] = round_up(value);
            least = value * 0x1p-20; // of residuals, where most rows have none
        }
        __syncthreads();
    }
}

} // namespace

void DevicePoints::prepare(int64_t n, Values values, cudaStream_t stream) {
    n_ = n;
    scaling_.find(rows_, n, values, stream);
    convert_kernel<<<blocks_of(32 * n, kThreads), kThreads, 0, stream>>>(
            rows_,
            mean(),
            scale(),
            n,
            static_cast<int>(d_),
            static_cast<int>(row_elements_),
            reinterpret_cast<__half*>(halves_),
            sizes_);
    check_launch("converting points");
    reference_kernel<<<1, kReferenceThreads, 0, stream>>>(
            sizes_, n, std::min(n, kSample), reference_);
    check_launch("lengths of most points");
}

} // namespace faiss_flash::cuda
