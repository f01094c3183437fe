// Budget: the values once.
#include <faiss_flash/cuda/runtime/check.h>
#include <faiss_flash/cuda/update/reduce.h>

#include <cub/block/block_reduce.cuh>

namespace faiss_flash::cuda {

namespace {

constexpr int kThreads = 256;

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

} // namespace

void sum_parts(const double* values, int64_t n, double* parts, cudaStream_t stream) {
    part_kernel<<<static_cast<unsigned>(parts_of(n)), kThreads, 0, stream>>>(values, n, parts);
    check_launch("sums of parts");
}

} // namespace faiss_flash::cuda
