// Budget: K d limbs 8 bytes once, K d 4 read and twice written; a problem's last block reads K 32
// more.
//
// Compiled without contraction: means, gains and objectives have the host's bits.
#include <faiss_flash/core/objective.h>
#include <faiss_flash/cuda/runtime/check.h>
#include <faiss_flash/cuda/update/finish.h>
#include <faiss_flash/cuda/update/rules.h>
#include <faiss_flash/cuda/ptx/clock.cuh>
#include <faiss_flash/cuda/update/fold.cuh>
#include <faiss_flash/cuda/update/limb_sum.cuh>

#include <cub/block/block_reduce.cuh>

namespace faiss_flash::cuda {

namespace {

constexpr int kThreads = 256;

struct FinishArguments {
    IterationArrays arrays;
    long long* sums;
    unsigned long long* cluster_counts; ///< [batch x k]
    IterationCounts* counts;            ///< [batch]
    LongSum* values;                    ///< of the points; only where there are no gains
    ClusterStats* stats;
    bool keep; ///< sums and cluster counts for the next run; else they are cleared
    bool weighted, l2;
    bool round_values;
    int64_t k;
    int64_t frozen;
    int d;
    SumLayout layout;
    const double* units; ///< [batch x (d + 1)]
    double limb_unit;
    int limbs;
};

/// Of one cluster, by one warp, whose lanes are the objective's (core/objective.h).
__device__ void finish_cluster(
        const FinishArguments& arguments, int64_t problem, int64_t i, int lane) {
    const IterationArrays& arrays = arguments.arrays;
    const SumLayout& layout = arguments.layout;
    const int d = arguments.d;
    const int limbs = arguments.limbs;
    const int64_t cluster = problem * arguments.k + i;
    const double* units = arguments.units + problem * (d + 1);
    long long* row = arguments.sums + cluster * limbs * layout.places;
    const auto size = static_cast<int64_t>(arguments.cluster_counts[cluster]);
    const double weight = arguments.weighted
                                  ? load_weight(row, layout, limbs, arguments.limb_unit, units[d])
                                  : static_cast<double>(size);
    const double inverse = weight == 0 ? 0 : 1 / weight;
    const bool gains = arrays.gains;
    const bool frozen = i < arguments.frozen;
    DoubleDouble gain{};
    constexpr int kEach = 4; // columns whose loads are on their way together
    for (int first = lane; first < d; first += 32 * kEach) {
        float centroids[kEach];
        double column_units[kEach];
        LimbSum sums[kEach];
#pragma unroll
        for (int c = 0; c < kEach; c++) {
            const int column = min(first + 32 * c, d - 1); // no branch between the loads
            column_units[c] = units[column];
            centroids[c] = gains || frozen ? arrays.centroids[cluster * d + column] : 0.0f;
        }
        load_sums(row, layout, limbs, arguments.limb_unit, first, d, gains, sums);
#pragma unroll
        for (int c = 0; c < kEach; c++) {
            const int column = first + 32 * c;
            if (column < d) {
                const double total = sums[c].rounded * column_units[c];
                const auto mean = static_cast<float>(total * inverse);
                const float kept = frozen ? centroids[c] : mean;
                arrays.means[cluster * d + column] = mean;
                arrays.next[cluster * d + column] = arguments.round_values ? roundf(kept) : kept;
            }
            if (column < d && gains) {
                const DoubleDouble sum = scaled(sums[c].exact, column_units[c]);
                const auto points = static_cast<double>(size);
                const auto centroid = static_cast<double>(centroids[c]);
                gain = add(gain, gain_of(arguments.l2, centroid, points, sum));
            }
        }
    }
    gain = gains ? fold_warp(gain) : gain;
    __syncwarp(); // all have read the sums and the count
    for (int place = lane; !arguments.keep && place < limbs * layout.places; place += 32) {
        row[place] = 0;
    }
    if (lane == 0) {
        arrays.sizes[cluster] = size;
        arrays.weights[cluster] = weight;
        if (gains) {
            arrays.gains[cluster] = gain;
        }
        if (!arguments.keep) {
            arguments.cluster_counts[cluster] = 0;
        }
    }
}

/// Whether all other blocks of the problem have finished their clusters: what they wrote may be
/// read then. True in one of them.
__device__ bool is_last_block(uint32_t* finished) {
    __shared__ bool is_last;
    __threadfence(); // what this thread has written is seen before the count
    __syncthreads();
    if (threadIdx.x == 0) {
        is_last = atomicInc(finished, gridDim.x - 1) == gridDim.x - 1; // which makes it 0 again
    }
    __syncthreads();
    __threadfence(); // nothing is read from before the count, nor from the L1 cache
    return is_last;
}

struct SizeSums {
    double squares; ///< of integers: exact in any order as far as a double holds them
    double empty;
    __device__ SizeSums operator+(const SizeSums& other) const {
        return {squares + other.squares, empty + other.empty};
    }
};

/// As the host's fold() of lanes, k of which are used; for the first thread.
__device__ DoubleDouble sum_of_lanes(DoubleDouble mine, int64_t k) {
    __shared__ DoubleDouble lanes[kThreads];
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

/// Of one problem, by one block. Arrays that others have written are read from where these wrote.
__device__ void describe(const FinishArguments& arguments, int64_t problem) {
    static_assert(kClusterLanes == kThreads);
    using Reduce = cub::BlockReduce<SizeSums, kThreads, cub::BLOCK_REDUCE_WARP_REDUCTIONS>;
    __shared__ typename Reduce::TempStorage storage;
    const IterationArrays& arrays = arguments.arrays;
    const int64_t k = arguments.k;
    SizeSums mine{};
    DoubleDouble gain{};
#pragma unroll 4
    for (int64_t i = threadIdx.x; i < k; i += kThreads) {
        const int64_t cluster = problem * k + i;
        const auto size = static_cast<double>(__ldcg(arrays.sizes + cluster));
        mine.squares += size * size;
        mine.empty += i >= arguments.frozen && __ldcg(arrays.weights + cluster) == 0 ? 1 : 0;
        if (arrays.gains) {
            const DoubleDouble* from = arrays.gains + cluster;
            gain = add(gain, DoubleDouble{__ldcg(&from->high), __ldcg(&from->low)});
        }
    }
    const SizeSums all = Reduce(storage).Reduce(
            mine, [](const SizeSums& a, const SizeSums& b) { return a + b; });
    const DoubleDouble gains = arrays.gains ? sum_of_lanes(gain, k) : DoubleDouble{};
    if (threadIdx.x == 0) {
        const bool l2 = arrays.squares;
        const double objective =
                arrays.gains
                        ? objective_of(l2, l2 ? arrays.squares[problem] : DoubleDouble{}, gains)
                        : value_of(*arguments.values);
        arguments.stats[problem] = {
                objective,
                all.squares,
                arguments.counts[problem],
                static_cast<int64_t>(all.empty),
                *arrays.assigned,
                ptx::globaltimer()};
        arguments.counts[problem] = {};
        if (!arrays.gains) {
            *arguments.values = {};
        }
    }
}

/// One warp a cluster; blockIdx.y is the problem, which its last block to finish describes.
__global__ void __launch_bounds__(kThreads, 3) finish_kernel(const FinishArguments arguments) {
    const int64_t problem = blockIdx.y;
    const int64_t cluster = (int64_t{blockIdx.x} * kThreads + threadIdx.x) / 32;
    if (cluster < arguments.k) {
        finish_cluster(arguments, problem, cluster, static_cast<int>(threadIdx.x) % 32);
    }
    if (is_last_block(arguments.arrays.finished + problem)) {
        describe(arguments, problem);
    }
}

__global__ void time_kernel(uint64_t* time) {
    *time = ptx::globaltimer();
}

} // namespace

void finish_iteration(
        const Sums& sums,
        const SumFormat& format,
        const IterationArrays& arrays,
        const CentroidRules& rules,
        ClusterStats* stats,
        cudaStream_t stream) {
    const Workload& workload = format.workload;
    FinishArguments arguments{};
    arguments.arrays = arrays;
    arguments.sums = reinterpret_cast<long long*>(sums.data);
    arguments.cluster_counts =
            reinterpret_cast<unsigned long long*>(sums.data + format.sums.sizes());
    arguments.counts = reinterpret_cast<IterationCounts*>(sums.data + format.sums.counts());
    arguments.values = reinterpret_cast<LongSum*>(sums.data + format.sums.values());
    arguments.stats = stats;
    arguments.keep = sums.kept > 0;
    arguments.weighted = workload.weighted;
    arguments.l2 = workload.metric == Metric::l2;
    arguments.round_values = rules.int_centroids && !rules.spherical;
    arguments.k = workload.k;
    arguments.frozen = rules.frozen;
    arguments.d = static_cast<int>(workload.d);
    arguments.layout = format.layout;
    arguments.units = format.units;
    arguments.limb_unit = 1 / format.limb_step;
    arguments.limbs = format.limbs;
    const dim3 grid(blocks_of(workload.k * 32, kThreads), static_cast<unsigned>(workload.batch));
    finish_kernel<<<grid, kThreads, 0, stream>>>(arguments);
    check_launch("means of the clusters");
    if (rules.spherical) {
        const int64_t clusters = workload.batch * workload.k;
        apply_rules(rules, clusters, workload.d, arrays.next, arrays.next, stream);
        write_time(&stats->ended, stream);
    }
}

void write_time(uint64_t* time, cudaStream_t stream) {
    time_kernel<<<1, 1, 0, stream>>>(time);
    check_launch("the device's time");
}

} // namespace faiss_flash::cuda
