#include <faiss_flash/cuda/runtime/check.h>
#include <faiss_flash/cuda/seeds.h>
#include <faiss_flash/cuda/elements.cuh>

namespace faiss_flash::cuda {

namespace {

constexpr int kThreads = 256;

/// One thread a coordinate; blockIdx.y is the problem.
template <class Element>
__global__ void gather_kernel(
        const DeviceRows rows, const Seed* seeds, int64_t count, int64_t k, float* centroids) {
    const int64_t at = int64_t{blockIdx.x} * kThreads + threadIdx.x;
    const int64_t i = at / rows.d;
    const int64_t j = at - i * rows.d;
    if (i >= count) {
        return;
    }
    const int64_t problem = blockIdx.y;
    const Seed seed = seeds[i];
    const auto* from =
            static_cast<const uint8_t*>(rows.data) + (problem * rows.n + seed.row) * rows.row_bytes;
    centroids[(problem * k + seed.centroid) * rows.d + j] =
            static_cast<float>(reinterpret_cast<const Element*>(from)[j]);
}

} // namespace

void gather_seeds(
        const DeviceRows& rows,
        const Seed* seeds,
        int64_t count,
        int64_t k,
        float* centroids,
        cudaStream_t stream) {
    if (count == 0) {
        return;
    }
    const dim3 grid(blocks_of(count * rows.d, kThreads), static_cast<unsigned>(rows.batch));
    with_element(rows.dtype, [&](auto element) {
        gather_kernel<decltype(element)>
                <<<grid, kThreads, 0, stream>>>(rows, seeds, count, k, centroids);
    });
    check_launch("the first centroids");
}

} // namespace faiss_flash::cuda
