// Budget: the means once in and once out.
//
// Compiled without contraction: lengths and objectives have the host's bits.
#include <faiss_flash/cuda/runtime/check.h>
#include <faiss_flash/cuda/update/finish.h>

#include <cub/block/block_reduce.cuh>

#include <cfloat>

namespace faiss_flash::cuda {

namespace {

constexpr int kThreads = 256;

struct Sums {
    double squares; ///< of integers: exact in any order as far as a double holds them
    double empty;
    __device__ Sums operator+(const Sums& other) const {
        return {squares + other.squares, empty + other.empty};
    }
};

/// As the host's fold(); for the first thread.
__device__ DoubleDouble sum_of_gains(const DoubleDouble* gains, int64_t k) {
    static_assert(kClusterLanes == kThreads);
    __shared__ DoubleDouble lanes[kThreads];
    DoubleDouble mine{};
    for (int64_t i = threadIdx.x; i < k; i += kThreads) {
        mine = add(mine, gains[i]);
    }
    int width = kThreads;
    while (width / 2 >= k) {
        width /= 2;
    }
    for (width /= 2; width > 0; width /= 2) {
        lanes[threadIdx.x] = mine;
        __syncthreads();
        mine = add(mine, lanes[(threadIdx.x + width) % kThreads]);
        __syncthreads();
    }
    return mine;
}

/// Of one problem, by one block.
__device__ void describe(
        const IterationArrays& arrays, int64_t frozen, int64_t k, ClusterStats* stats) {
    using Reduce = cub::BlockReduce<Sums, kThreads, cub::BLOCK_REDUCE_WARP_REDUCTIONS>;
    __shared__ typename Reduce::TempStorage storage;
    const int64_t problem = blockIdx.y;
    Sums mine{};
    for (int64_t i = threadIdx.x; i < k; i += kThreads) {
        const auto size = static_cast<double>(arrays.sizes[problem * k + i]);
        mine.squares += size * size;
        mine.empty += i >= frozen && arrays.weights[problem * k + i] == 0 ? 1 : 0;
    }
    const Sums all =
            Reduce(storage).Reduce(mine, [](const Sums& a, const Sums& b) { return a + b; });
    const DoubleDouble gains =
            arrays.gains ? sum_of_gains(arrays.gains + problem * k, k) : DoubleDouble{};
    if (threadIdx.x == 0) {
        const bool l2 = arrays.squares;
        const double objective =
                arrays.gains
                        ? objective_of(l2, l2 ? arrays.squares[problem] : DoubleDouble{}, gains)
                        : value_of(*arrays.values);
        stats[problem] = {
                objective, all.squares, arrays.counts[problem], static_cast<int64_t>(all.empty)};
        arrays.counts[problem] = {};
        if (!arrays.gains) {
            *arrays.values = {};
        }
    }
}

/// One thread a coordinate; the first block of a problem describes it as well.
__global__ void finish_kernel(
        const IterationArrays arrays,
        int64_t frozen,
        bool round_values,
        int64_t k,
        int64_t d,
        float* next,
        ClusterStats* stats) {
    const int64_t value = int64_t{blockIdx.x} * kThreads + threadIdx.x;
    if (value < k * d) {
        const int64_t i = blockIdx.y * k * d + value;
        const float kept = value < frozen * d ? arrays.centroids[i] : arrays.means[i];
        next[i] = round_values ? roundf(kept) : kept;
    }
    if (blockIdx.x == 0) {
        describe(arrays, frozen, k, stats);
    }
}

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

void finish_iteration(
        const IterationArrays& arrays,
        const CentroidRules& rules,
        int64_t batch,
        int64_t k,
        int64_t d,
        float* next,
        ClusterStats* stats,
        cudaStream_t stream) {
    const bool round_now = rules.int_centroids && !rules.spherical;
    const dim3 grid(blocks_of(k * d, kThreads), static_cast<unsigned>(batch));
    finish_kernel<<<grid, kThreads, 0, stream>>>(
            arrays, rules.frozen, round_now, k, d, next, stats);
    check_launch("the next centroids");
    if (rules.spherical) {
        apply_rules(rules, batch * k, d, next, next, stream);
    }
}

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
