// Budget: the means once in and once out.
//
// Compiled without contraction: lengths have the host's bits.
#include <faiss_flash/cuda/runtime/check.h>
#include <faiss_flash/cuda/update/rules.h>

#include <cfloat>

namespace faiss_flash::cuda {

namespace {

constexpr int kThreads = 256;

/// One thread a centroid: its sum is in the host's order.
__global__ void spherical_kernel(
        const float* means, int64_t rows, int64_t d, bool round_values, float* centroids) {
    const int64_t i = int64_t{blockIdx.x} * kThreads + threadIdx.x;
    if (i >= rows) {
        return;
    }
    const float* from = means + i * d;
    float* to = centroids + i * d;
    double squares = 0;
    for (int64_t j = 0; j < d; j++) {
        squares += static_cast<double>(from[j]) * from[j];
    }
    const double inverse = 1 / sqrt(squares);
    for (int64_t j = 0; j < d; j++) {
        const float value = squares > 0 ? static_cast<float>(from[j] * inverse) : from[j];
        to[j] = round_values ? roundf(value) : value;
    }
}

__global__ void round_kernel(
        const float* means, int64_t values, bool round_values, float* centroids) {
    const int64_t i = int64_t{blockIdx.x} * kThreads + threadIdx.x;
    if (i < values) {
        centroids[i] = round_values ? roundf(means[i]) : means[i];
    }
}

__device__ float limited(float value) {
    constexpr float kMost = FLT_MAX;
    return fmaxf(-kMost, fminf(kMost, value));
}

/// One thread a column: a centroid may be in several pairs, whose order counts.
__global__ void split_kernel(const Split* splits, int64_t count, int64_t d, float* centroids) {
    const int64_t j = int64_t{blockIdx.x} * kThreads + threadIdx.x;
    if (j >= d) {
        return;
    }
    const float sign = j % 2 == 0 ? kSplitShift : -kSplitShift;
    for (int64_t i = 0; i < count; i++) {
        float* to = centroids + splits[i].empty * d + j;
        float* from = centroids + splits[i].donor * d + j;
        *to = limited(*from * (1 + sign));
        *from = limited(*from * (1 - sign));
    }
}

} // namespace

void apply_rules(
        const CentroidRules& rules,
        int64_t rows,
        int64_t d,
        const float* means,
        float* centroids,
        cudaStream_t stream) {
    if (rules.spherical) {
        spherical_kernel<<<blocks_of(rows, kThreads), kThreads, 0, stream>>>(
                means, rows, d, rules.int_centroids, centroids);
        check_launch("centroids of length 1");
    } else if (rules.int_centroids || means != centroids) {
        round_kernel<<<blocks_of(rows * d, kThreads), kThreads, 0, stream>>>(
                means, rows * d, rules.int_centroids, centroids);
        check_launch("rounded centroids");
    }
}

void apply_splits(
        const Split* splits, int64_t count, int64_t d, float* centroids, cudaStream_t stream) {
    split_kernel<<<blocks_of(d, kThreads), kThreads, 0, stream>>>(splits, count, d, centroids);
    check_launch("splitting clusters");
}

} // namespace faiss_flash::cuda
