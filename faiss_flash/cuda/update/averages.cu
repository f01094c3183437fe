// Compiled without contraction: averages have the host's bits.
//
// Budget: a revival reads K 8 bytes, twice where some cluster is to be revived; each of these reads
// d 8 and writes d 24. The end of a run reads K d limbs 8 and writes K d 4.
//
// Donors, by one block, as the host draws them one after the other:
// 1. Usages become integers, whose sum says which clusters are revived and is a prefix sum of the
//    others: a number below the total stands for a donor.
// 2. 1024 draws at a time find their donors. Of the draws of one donor the first counts (an atomic
//    minimum), and those that count are ranked by a scan: the i-th is for the i-th revived cluster.
#include <faiss_flash/cuda/device_info.h>
#include <faiss_flash/cuda/runtime/check.h>
#include <faiss_flash/cuda/update/averages.h>
#include <faiss_flash/cuda/update/limb_sum.cuh>

#include <cub/block/block_reduce.cuh>
#include <cub/block/block_scan.cuh>

#include <climits>

namespace faiss_flash::cuda {

namespace {

constexpr int kThreads = 256;
constexpr auto kDrawThreads = static_cast<int>(kDrawsTogether);

__global__ void begin_kernel(
        const float* centroids, int64_t k, int64_t d, const AverageArrays averages) {
    const int64_t i = int64_t{blockIdx.x} * kThreads + threadIdx.x;
    if (i < k * d) {
        averages.sums[i] = kFirstUsage * static_cast<double>(centroids[i]);
    }
    if (i < k) {
        averages.usage[i] = kFirstUsage;
    }
}

/// What clusters add up to: donors' usages, revived ones and donors.
struct Found {
    int64_t units;
    int32_t revived, donors;
    __device__ Found operator+(const Found& other) const {
        return {units + other.units, revived + other.revived, donors + other.donors};
    }
};

/// By one block: the pairs, and how many there are.
__global__ void __launch_bounds__(kDrawThreads) draw_kernel(
        const double* usage,
        int32_t k,
        double scale,
        uint64_t seed,
        const ReviveWorkspace workspace,
        ClusterStats* stats) {
    using Reduce = cub::BlockReduce<int64_t, kDrawThreads>;
    using Scan = cub::BlockScan<Found, kDrawThreads, cub::BLOCK_SCAN_WARP_SCANS>;
    using Rank = cub::BlockScan<int32_t, kDrawThreads, cub::BLOCK_SCAN_WARP_SCANS>;
    __shared__ union {
        typename Reduce::TempStorage reduce;
        typename Scan::TempStorage scan;
        typename Rank::TempStorage rank;
    } storage;
    __shared__ int64_t shared_least;
    const auto thread = static_cast<int32_t>(threadIdx.x);
    int64_t mine = 0;
    for (int32_t i = thread; i < k; i += kDrawThreads) {
        mine += usage_units(usage[i], scale);
    }
    mine = Reduce(storage.reduce).Sum(mine);
    if (thread == 0) {
        shared_least = mine / (kReviveBelow * k);
    }
    __syncthreads();
    const int64_t least = shared_least;
    bool any = false;
    for (int32_t i = thread; i < k; i += kDrawThreads) {
        any = any || usage_units(usage[i], scale) < least;
    }
    if (!__syncthreads_or(any)) {
        if (thread == 0) {
            *workspace.count = 0;
        }
        return;
    }
    const auto sum = [](const Found& a, const Found& b) { return a + b; };
    Found before{};
    for (int32_t first = 0; first < k; first += kDrawThreads) {
        const int32_t i = first + thread;
        const int64_t units = i < k ? usage_units(usage[i], scale) : 0;
        const bool revives = i < k && units < least;
        const bool donates = !revives && units > 0;
        Found own{revives ? 0 : units, revives, donates};
        Found all{};
        Scan(storage.scan).InclusiveScan(own, own, sum, all);
        if (i < k) {
            workspace.ends[i] = before.units + own.units;
            workspace.first_draw[i] = INT_MAX;
        }
        if (revives) {
            workspace.revived[before.revived + own.revived - 1] = i;
        }
        before = before + all;
        __syncthreads();
    }
    const int32_t wanted = min(before.donors, before.revived);
    const int64_t draws = most_donor_draws(before.revived);
    int32_t taken = 0;
    for (int64_t first = 0; first < draws && taken < wanted; first += kDrawThreads) {
        const int64_t draw = donor_draw(seed, first + thread, before.units);
        int32_t donor = 0; // the first whose end is beyond
        for (int32_t count = k; count > 0;) {
            const int32_t half = count / 2;
            const bool beyond = __ldcg(workspace.ends + donor + half) > draw;
            donor += beyond ? 0 : half + 1;
            count = beyond ? half : count - half - 1;
        }
        const auto number = static_cast<int32_t>(first + thread);
        atomicMin(workspace.first_draw + donor, number);
        __syncthreads();
        const bool counts = __ldcg(workspace.first_draw + donor) == number;
        int32_t rank = counts;
        int32_t all = 0;
        Rank(storage.rank).InclusiveSum(rank, rank, all);
        rank += taken - 1;
        if (counts && rank < wanted) {
            workspace.pairs[rank] = make_int2(workspace.revived[rank], donor);
        }
        taken += all;
        __syncthreads();
    }
    if (thread == 0) {
        *workspace.count = min(taken, wanted);
        stats->revived = min(taken, wanted);
    }
}

/// A warp a pair. No cluster is in two.
__global__ void revive_kernel(
        const AverageArrays averages,
        const int2* pairs,
        const int32_t* count,
        int32_t frozen,
        int d,
        float* centroids) {
    const auto lane = static_cast<int>(threadIdx.x % 32);
    const auto warps = static_cast<int32_t>(gridDim.x * (kThreads / 32));
    for (auto i = static_cast<int32_t>(blockIdx.x * (kThreads / 32) + threadIdx.x / 32); i < *count;
         i += warps) {
        const int64_t revived = frozen + pairs[i].x;
        const int64_t donor = frozen + pairs[i].y;
        const double usage = averages.usage[donor];
        const double half = usage / 2;
        const double inverse = inverse_of_usage(usage);
        const double inverse_half = inverse_of_usage(half);
        for (int j = lane; j < d; j += 32) {
            const double column = averages.sums[donor * d + j] * inverse;
            for (const bool is_revived : {true, false}) {
                const int64_t at = (is_revived ? revived : donor) * d + j;
                const double sum = shifted(column, j, is_revived) * half;
                averages.sums[at] = sum;
                centroids[at] = centroid_of(sum, inverse_half);
            }
        }
        __syncwarp(); // all have read the usage
        if (lane == 0) {
            averages.usage[revived] = averages.usage[donor] = half;
        }
    }
}

/// A warp a cluster.
__global__ void close_kernel(
        const long long* all_sums,
        const int64_t* sizes,
        int64_t k,
        int64_t frozen,
        int d,
        SumLayout layout,
        int limbs,
        double limb_unit,
        const double* units,
        bool weighted,
        float* centroids) {
    const auto lane = static_cast<int>(threadIdx.x % 32);
    const int64_t cluster = frozen + (int64_t{blockIdx.x} * kThreads + threadIdx.x) / 32;
    if (cluster >= k) {
        return;
    }
    const long long* row = all_sums + cluster * limbs * layout.places;
    const auto value_at = [&](int place, double unit) {
        LimbSum sum;
        for (int limb = limbs - 1; limb >= 0; limb--) {
            sum.take(row[limb * layout.places + place], limb == limbs - 1, false, limb_unit);
        }
        return sum.rounded * unit;
    };
    const double weight =
            weighted ? value_at(layout.places - 1, units[d]) : static_cast<double>(sizes[cluster]);
    if (weight == 0) {
        return;
    }
    const double inverse = 1 / weight;
    for (int j = lane; j < d; j += 32) {
        const double total = value_at(layout.place(j), units[j]);
        centroids[cluster * d + j] = static_cast<float>(total * inverse);
    }
}

} // namespace

ReviveWorkspace::ReviveWorkspace(int64_t k, Arena& arena)
    : ends(arena.take<int64_t>(k)),
      first_draw(arena.take<int32_t>(k)),
      revived(arena.take<int32_t>(k)),
      pairs(arena.take<int2>(k)),
      count(arena.take<int32_t>(1)) {}

void begin_averages(
        const float* centroids,
        int64_t k,
        int64_t d,
        const AverageArrays& averages,
        cudaStream_t stream) {
    begin_kernel<<<blocks_of(k * d, kThreads), kThreads, 0, stream>>>(centroids, k, d, averages);
    check_launch("the first averages");
}

void revive(
        const AverageArrays& averages,
        int64_t k,
        int64_t d,
        int64_t frozen,
        double scale,
        uint64_t seed,
        const ReviveWorkspace& workspace,
        float* centroids,
        ClusterStats* stats,
        cudaStream_t stream) {
    const auto clusters = static_cast<int32_t>(k - frozen);
    if (clusters == 0) {
        return;
    }
    draw_kernel<<<1, kDrawThreads, 0, stream>>>(
            averages.usage + frozen, clusters, scale, seed, workspace, stats);
    check_launch("drawing donors");
    const unsigned most = 2 * static_cast<unsigned>(device_info().multiprocessors);
    const unsigned blocks = std::min(most, blocks_of(int64_t{clusters} * 32, kThreads));
    revive_kernel<<<blocks, kThreads, 0, stream>>>(
            averages,
            workspace.pairs,
            workspace.count,
            static_cast<int32_t>(frozen),
            static_cast<int>(d),
            centroids);
    check_launch("reviving clusters");
}

void close_averages(
        const AverageArrays& averages,
        const int64_t* sizes,
        const SumFormat& format,
        int64_t frozen,
        float* centroids,
        cudaStream_t stream) {
    const Workload& workload = format.workload;
    close_kernel<<<blocks_of(workload.k * 32, kThreads), kThreads, 0, stream>>>(
            averages.all_sums,
            sizes,
            workload.k,
            frozen,
            static_cast<int>(workload.d),
            format.layout,
            format.limbs,
            1 / format.limb_step,
            format.units,
            workload.weighted,
            centroids);
    check_launch("means of the last epoch");
}

} // namespace faiss_flash::cuda
