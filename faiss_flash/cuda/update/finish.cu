// Compiled without contraction: lengths have the host's bits.
#include <faiss_flash/cuda/runtime/check.h>
#include <faiss_flash/cuda/update/finish.h>

namespace faiss_flash::cuda {

namespace {

constexpr int kThreads = 256;

/// One thread a coordinate.
__global__ void copy_kernel(
        const float* centroids,
        const float* means,
        int64_t frozen_values,
        int64_t values,
        bool round_values,
        float* next) {
    const int64_t i = int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
    if (i < values) {
        const float value = i < frozen_values ? centroids[i] : means[i];
        next[i] = round_values ? roundf(value) : value;
    }
}

/// One thread a centroid: its sum is in the host's order.
__global__ void spherical_kernel(int64_t k, int64_t d, bool round_values, float* next) {
    const int64_t i = int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
    if (i >= k) {
        return;
    }
    float* row = next + i * d;
    double squares = 0;
    for (int64_t j = 0; j < d; j++) {
        squares += static_cast<double>(row[j]) * row[j];
    }
    const double inverse = 1 / sqrt(squares);
    for (int64_t j = 0; j < d; j++) {
        const float value = squares > 0 ? static_cast<float>(row[j] * inverse) : row[j];
        row[j] = round_values ? roundf(value) : value;
    }
}

/// One block. The sums are of integers: exact in any order as far as a double holds them.
__global__ void describe_kernel(
        const int64_t* sizes,
        const double* weights,
        int64_t frozen,
        int64_t k,
        ClusterStats* stats) {
    __shared__ double squares[kThreads];
    __shared__ int64_t empty[kThreads];
    double my_squares = 0;
    int64_t my_empty = 0;
    for (int64_t i = threadIdx.x; i < k; i += kThreads) {
        my_squares += static_cast<double>(sizes[i]) * static_cast<double>(sizes[i]);
        my_empty += i >= frozen && weights[i] == 0;
    }
    squares[threadIdx.x] = my_squares;
    empty[threadIdx.x] = my_empty;
    for (int width = kThreads / 2; width > 0; width /= 2) {
        __syncthreads();
        if (static_cast<int>(threadIdx.x) < width) {
            squares[threadIdx.x] += squares[threadIdx.x + width];
            empty[threadIdx.x] += empty[threadIdx.x + width];
        }
    }
    if (threadIdx.x == 0) {
        stats->squares = squares[0];
        stats->empty = empty[0];
    }
}

} // namespace

void next_centroids(
        const float* centroids,
        const float* means,
        const CentroidRules& rules,
        int64_t k,
        int64_t d,
        float* next,
        cudaStream_t stream) {
    const bool round_now = rules.int_centroids && !rules.spherical;
    copy_kernel<<<blocks_of(k * d, kThreads), kThreads, 0, stream>>>(
            centroids, means, rules.frozen * d, k * d, round_now, next);
    check_launch("the next centroids");
    if (rules.spherical) {
        spherical_kernel<<<blocks_of(k, kThreads), kThreads, 0, stream>>>(
                k, d, rules.int_centroids, next);
        check_launch("centroids of length 1");
    }
}

void describe_clusters(
        const int64_t* sizes,
        const double* weights,
        int64_t frozen,
        int64_t k,
        ClusterStats* stats,
        cudaStream_t stream) {
    describe_kernel<<<1, kThreads, 0, stream>>>(sizes, weights, frozen, k, stats);
    check_launch("sizes of the clusters");
}

} // namespace faiss_flash::cuda
