// Budget: the values once.
#include <faiss_flash/cuda/runtime/check.h>
#include <faiss_flash/cuda/update/reduce.h>

#include <cub/block/block_reduce.cuh>

#include <cuda_bf16.h>
#include <cuda_fp16.h>

namespace faiss_flash::cuda {

namespace {

constexpr int kThreads = 256;
constexpr int kRowThreads = 1024;

__global__ void part_kernel(const double* values, int64_t n, double* parts) {
    using Reduce = cub::BlockReduce<double, kThreads>;
    __shared__ typename Reduce::TempStorage storage;
    const int64_t first = int64_t{blockIdx.x} * kPart + threadIdx.x;
    double mine = 0;
#pragma unroll
    for (int64_t i = 0; i < kPart; i += kThreads) {
        mine += first + i < n ? values[first + i] : 0.0;
    }
    const double total = Reduce(storage).Sum(mine);
    if (threadIdx.x == 0) {
        parts[blockIdx.x] = total;
    }
}

/// A warp a row.
template <class Element>
__global__ void __launch_bounds__(kRowThreads) square_kernel(
        const Element* rows,
        int64_t row_elements,
        int64_t n,
        int d,
        const float* mean,
        double* parts) {
    using Reduce = cub::BlockReduce<double, kRowThreads>;
    __shared__ typename Reduce::TempStorage storage;
    const int64_t first = int64_t{blockIdx.x} * kPart;
    const int64_t end = min(n, first + kPart);
    mean = mean ? mean + blockIdx.y * d : nullptr;
    double sum = 0;
    for (int64_t i = first + threadIdx.x / 32; i < end; i += kRowThreads / 32) {
        const Element* row = rows + (blockIdx.y * n + i) * row_elements;
        for (int j = static_cast<int>(threadIdx.x) % 32; j < d; j += 32) {
            const double x = static_cast<float>(row[j]);
            const double difference = x - (mean ? mean[j] : 0.0f);
            sum += difference * difference;
        }
    }
    sum = Reduce(storage).Sum(sum);
    if (threadIdx.x == 0) {
        parts[int64_t{blockIdx.y} * gridDim.x + blockIdx.x] = sum;
    }
}

} // namespace

template <class Element>
void sum_squares(
        Metric metric,
        const Element* rows,
        int64_t row_elements,
        int64_t batch,
        int64_t n,
        int64_t d,
        const float* mean,
        double* parts,
        cudaStream_t stream) {
    if (metric == Metric::inner_product) {
        const auto bytes = static_cast<size_t>(batch * parts_of(n)) * sizeof(double);
        check(cudaMemsetAsync(parts, 0, bytes, stream), "clearing the squares");
        return;
    }
    const dim3 grid(static_cast<unsigned>(parts_of(n)), static_cast<unsigned>(batch));
    square_kernel<<<grid, kRowThreads, 0, stream>>>(
            rows, row_elements, n, static_cast<int>(d), mean, parts);
    check_launch("summing the squares");
}

#define FAISS_FLASH_SUM_SQUARES(Element) \
    template void sum_squares(           \
            Metric,                      \
            const Element*,              \
            int64_t,                     \
            int64_t,                     \
            int64_t,                     \
            int64_t,                     \
            const float*,                \
            double*,                     \
            cudaStream_t);
FAISS_FLASH_SUM_SQUARES(float)
FAISS_FLASH_SUM_SQUARES(__half)
FAISS_FLASH_SUM_SQUARES(__nv_bfloat16)
#undef FAISS_FLASH_SUM_SQUARES

void sum_parts(const double* values, int64_t n, double* parts, cudaStream_t stream) {
    part_kernel<<<static_cast<unsigned>(parts_of(n)), kThreads, 0, stream>>>(values, n, parts);
    check_launch("sums of parts");
}

} // namespace faiss_flash::cuda
