// Compiled without contraction: averages have the host's bits.
//
// Budget: a batch reads K d (8 limbs + 12) bytes and writes K d (8 limbs + 12), in the last epoch K
// d 8 limbs more of both; all of it stays in L2 where K d is small. A revival reads K 8 bytes,
// three times where some cluster is to be revived, each of which reads d 8 and writes d 24.
//
// A warp takes a cluster: all that it reads is on its way before anything is computed or written.
//
// Donors, by one block, as the host draws them one after the other:
// 1. Usages become integers, whose sum says which clusters are revived and is a prefix sum of the
//    others: a number below the total stands for a donor.
// 2. 1024 draws at a time find their donors. Of the draws of one donor the first counts (an atomic
//    minimum), and those that count are ranked by a scan: the i-th is for the i-th revived cluster.
#include <faiss_flash/cuda/device_info.h>
#include <faiss_flash/cuda/runtime/check.h>
#include <faiss_flash/cuda/update/averages.h>
#include <faiss_flash/cuda/ptx/clock.cuh>
#include <faiss_flash/cuda/update/fold.cuh>
#include <faiss_flash/cuda/update/limb_sum.cuh>

#include <cub/block/block_reduce.cuh>
#include <cub/block/block_scan.cuh>

#include <algorithm>
#include <climits>

namespace faiss_flash::cuda {

namespace {

constexpr int kThreads = 256;
constexpr int kWarps = kThreads / 32;
constexpr auto kDrawThreads = static_cast<int>(kDrawsTogether);

__global__ void begin_kernel(const AverageArrays arrays, int64_t k, int64_t d) {
    const int64_t i = int64_t{blockIdx.x} * kThreads + threadIdx.x;
    if (i < k * d) {
        arrays.sums[i] = kFirstUsage * static_cast<double>(arrays.centroids[i]);
    }
    if (i < k) {
        arrays.usage[i] = kFirstUsage;
    }
}

__global__ void begin_epoch_kernel(EpochStats* epoch, const DoubleDouble* squares) {
    *epoch = {};
    epoch->points = squares ? *squares : DoubleDouble{};
    epoch->began = ptx::globaltimer();
}

struct MoveArguments {
    AverageArrays arrays;
    long long* sums;
    unsigned long long* sizes; ///< [k]
    IterationCounts* counts;
    LongSum* values; ///< of weighted points, or null
    bool keep;       ///< sums and sizes for the next run
    bool l2;
    EmeansBatch batch;
    int64_t k, frozen;
    int d;
    SumLayout layout;
    const double* units; ///< [d + 1]
    double limb_unit;
    int limbs;
};

/// Of one cluster, by one warp, whose lanes are the objective's. Returns its gain, to the first.
__device__ DoubleDouble move_cluster(const MoveArguments& arguments, int64_t cluster, int lane) {
    constexpr int kEach = 4; // columns whose loads are on their way together
    const AverageArrays& arrays = arguments.arrays;
    const SumLayout& layout = arguments.layout;
    const int d = arguments.d;
    const int limbs = arguments.limbs;
    const double alpha = arguments.batch.alpha;
    const bool weighted = arguments.values;
    long long* row = arguments.sums + cluster * limbs * layout.places;
    const auto size = static_cast<int64_t>(arguments.sizes[cluster]);
    const double weight =
            weighted ? load_weight(row, layout, limbs, arguments.limb_unit, arguments.units[d])
                     : static_cast<double>(size);
    const bool stays_put = cluster < arguments.frozen || stays(weight, alpha);
    const double usage = moved_average(arrays.usage[cluster], weight, alpha);
    const double inverse = inverse_of_usage(usage);
    DoubleDouble gain{};
    for (int first = lane; first < d; first += 32 * kEach) {
        double averages[kEach];
        float centroids[kEach];
        double units[kEach];
        LimbSum sums[kEach];
#pragma unroll
        for (int c = 0; c < kEach; c++) {
            const int column = min(first + 32 * c, d - 1); // no branch between the loads
            averages[c] = arrays.sums[cluster * d + column];
            centroids[c] = arrays.centroids[cluster * d + column];
            units[c] = arguments.units[column];
        }
        load_sums(row, layout, limbs, arguments.limb_unit, first, d, !weighted, sums);
#pragma unroll
        for (int c = 0; c < kEach; c++) {
            const int column = first + 32 * c;
            const double total = sums[c].rounded * units[c];
            const double average = moved_average(averages[c], total, alpha);
            if (column < d && !stays_put) {
                arrays.sums[cluster * d + column] = average;
                arrays.centroids[cluster * d + column] = centroid_of(average, inverse);
            }
            if (column < d && !weighted) {
                const DoubleDouble sum = scaled(sums[c].exact, units[c]);
                const auto centroid = static_cast<double>(centroids[c]);
                gain = add(gain, gain_of(arguments.l2, centroid, weight, sum));
            }
        }
    }
    __syncwarp(); // all have read the sums, the size and the usage
    const int places = limbs * layout.places;
    if (arguments.batch.closes) {
        long long* all = arrays.all_sums + cluster * places;
        for (int first = lane; first < places; first += 32 * kEach) {
            long long parts[kEach];
            long long before[kEach];
#pragma unroll
            for (int c = 0; c < kEach; c++) {
                const int place = min(first + 32 * c, places - 1);
                parts[c] = row[place];
                before[c] = arguments.batch.begins ? 0 : all[place];
            }
#pragma unroll
            for (int c = 0; c < kEach; c++) {
                if (first + 32 * c < places) {
                    all[first + 32 * c] = before[c] + parts[c];
                }
            }
        }
    }
    for (int place = lane; !arguments.keep && place < places; place += 32) {
        row[place] = 0;
    }
    if (lane == 0) {
        arrays.sizes[cluster] = (arguments.batch.begins ? 0 : arrays.sizes[cluster]) + size;
        if (!stays_put) {
            arrays.usage[cluster] = usage;
        }
        if (!arguments.keep) {
            arguments.sizes[cluster] = 0;
        }
    }
    return fold_warp(gain);
}

__device__ void add_integer(int64_t* to, int64_t value) {
    if (value != 0) {
        atomicAdd(
                reinterpret_cast<unsigned long long*>(to), static_cast<unsigned long long>(value));
    }
}

__global__ void __launch_bounds__(kThreads, 3) move_kernel(const MoveArguments arguments) {
    __shared__ DoubleDouble gains[kWarps];
    __shared__ int64_t bins[LongSum::kBins];
    EpochStats* epoch = arguments.arrays.epoch;
    const auto thread = static_cast<int>(threadIdx.x);
    const int64_t cluster = (int64_t{blockIdx.x} * kThreads + thread) / 32;
    const DoubleDouble gain =
            cluster < arguments.k ? move_cluster(arguments, cluster, thread % 32) : DoubleDouble{};
    if (thread % 32 == 0) {
        gains[thread / 32] = gain;
    }
    if (thread < LongSum::kBins) {
        const bool of_points = arguments.values && blockIdx.x == 0;
        bins[thread] = of_points ? arguments.values->bins[thread] : 0;
        if (of_points) {
            arguments.values->bins[thread] = 0;
        }
    }
    __syncthreads();
    if (thread == 0) {
        for (const DoubleDouble& own : gains) { // integers: in any order
            add_to_bins(own.high, bins);
            add_to_bins(own.low, bins);
        }
    }
    __syncthreads();
    if (thread < LongSum::kBins) {
        add_integer(epoch->objective.bins + thread, bins[thread]);
    }
    if (blockIdx.x == 0 && thread == 0) {
        IterationCounts& counts = *arguments.counts;
        epoch->counts.redone += counts.redone;
        epoch->counts.decided += counts.decided;
        epoch->counts.invalid += counts.invalid;
        counts = {};
        epoch->updating += ptx::globaltimer() - *arguments.arrays.assigned;
    }
}

/// What some clusters add up to: donors' usages, revived ones and donors.
struct Found {
    int64_t units;
    int32_t revived, donors;
    __device__ Found operator+(const Found& other) const {
        return {units + other.units, revived + other.revived, donors + other.donors};
    }
};

/// By one block: the pairs, and how many there are. A thread has clusters that lie side by side.
__global__ void __launch_bounds__(kDrawThreads) draw_kernel(
        const AverageArrays arrays, int32_t frozen, int32_t k, double scale, uint64_t seed) {
    using Reduce = cub::BlockReduce<int64_t, kDrawThreads>;
    using Scan = cub::BlockScan<Found, kDrawThreads, cub::BLOCK_SCAN_WARP_SCANS>;
    using Rank = cub::BlockScan<int32_t, kDrawThreads, cub::BLOCK_SCAN_WARP_SCANS>;
    __shared__ union {
        typename Reduce::TempStorage reduce;
        typename Scan::TempStorage scan;
        typename Rank::TempStorage rank;
    } storage;
    __shared__ int64_t shared_least;
    const double* usage = arrays.usage + frozen;
    const auto thread = static_cast<int32_t>(threadIdx.x);
    int64_t mine = 0;
    int64_t smallest = LLONG_MAX;
#pragma unroll 4
    for (int32_t i = thread; i < k; i += kDrawThreads) {
        const int64_t units = usage_units(usage[i], scale);
        mine += units;
        smallest = min(smallest, units);
    }
    mine = Reduce(storage.reduce).Sum(mine);
    if (thread == 0) {
        shared_least = mine / (kReviveBelow * k);
    }
    __syncthreads();
    const int64_t least = shared_least;
    if (!__syncthreads_or(smallest < least)) {
        if (thread == 0) {
            *arrays.count = 0;
        }
        return;
    }
    const int32_t each = (k + kDrawThreads - 1) / kDrawThreads;
    const int32_t begin = min(k, thread * each);
    const int32_t end = min(k, begin + each);
    const auto found = [&](int32_t i) {
        const int64_t units = usage_units(usage[i], scale);
        const bool revives = units < least;
        return Found{revives ? 0 : units, revives, !revives && units > 0};
    };
    Found before{};
    for (int32_t i = begin; i < end; i++) {
        before = before + found(i);
    }
    Found all{};
    const auto sum = [](const Found& a, const Found& b) { return a + b; };
    Scan(storage.scan).ExclusiveScan(before, before, Found{}, sum, all);
    for (int32_t i = begin; i < end; i++) {
        const Found own = found(i);
        if (own.revived) {
            arrays.revived[before.revived] = i;
        }
        before = before + own;
        arrays.ends[i] = before.units;
        arrays.first_draw[i] = INT_MAX;
    }
    __syncthreads();
    const int32_t wanted = min(all.donors, all.revived);
    const int64_t draws = most_donor_draws(all.revived);
    int32_t taken = 0;
    for (int64_t first = 0; first < draws && taken < wanted; first += kDrawThreads) {
        const auto number = static_cast<int32_t>(first + thread);
        const int64_t draw = donor_draw(seed, number, all.units);
        int32_t donor = 0; // the first whose end is beyond
        for (int32_t count = k; count > 0;) {
            const int32_t half = count / 2;
            const bool beyond = arrays.ends[donor + half] > draw;
            donor += beyond ? 0 : half + 1;
            count = beyond ? half : count - half - 1;
        }
        atomicMin(arrays.first_draw + donor, number);
        __syncthreads();
        const bool counts = __ldcg(arrays.first_draw + donor) == number;
        int32_t rank = counts;
        int32_t more = 0;
        Rank(storage.rank).ExclusiveSum(rank, rank, more);
        rank += taken;
        if (counts && rank < wanted) {
            arrays.pairs[rank] = make_int2(arrays.revived[rank], donor);
        }
        taken += more;
        __syncthreads();
    }
    if (thread == 0) {
        *arrays.count = min(taken, wanted);
        arrays.epoch->revived += min(taken, wanted);
    }
}

/// A warp a pair. No cluster is in two.
__global__ void revive_kernel(const AverageArrays arrays, int32_t frozen, int d) {
    const auto lane = static_cast<int>(threadIdx.x % 32);
    const auto warps = static_cast<int32_t>(gridDim.x * kWarps);
    for (auto i = static_cast<int32_t>(blockIdx.x * kWarps + threadIdx.x / 32); i < *arrays.count;
         i += warps) {
        const int64_t revived = frozen + arrays.pairs[i].x;
        const int64_t donor = frozen + arrays.pairs[i].y;
        const double usage = arrays.usage[donor];
        const double half = usage / 2;
        const double inverse = inverse_of_usage(usage);
        const double inverse_of_half = inverse_of_usage(half);
        for (int j = lane; j < d; j += 32) {
            const double column = arrays.sums[donor * d + j] * inverse;
            for (const bool is_revived : {true, false}) {
                const int64_t at = (is_revived ? revived : donor) * d + j;
                const double sum = shifted(column, j, is_revived) * half;
                arrays.sums[at] = sum;
                arrays.centroids[at] = centroid_of(sum, inverse_of_half);
            }
        }
        __syncwarp(); // all have read the usage
        if (lane == 0) {
            arrays.usage[revived] = arrays.usage[donor] = half;
        }
    }
}

/// A warp a cluster.
__global__ void close_kernel(
        const AverageArrays arrays,
        int64_t frozen,
        int64_t k,
        int d,
        SumLayout layout,
        int limbs,
        double limb_unit,
        const double* units,
        bool weighted) {
    constexpr int kEach = 4;
    const auto lane = static_cast<int>(threadIdx.x % 32);
    const int64_t cluster = frozen + (int64_t{blockIdx.x} * kThreads + threadIdx.x) / 32;
    if (cluster >= k) {
        return;
    }
    const long long* row = arrays.all_sums + cluster * limbs * layout.places;
    const double weight = weighted ? load_weight(row, layout, limbs, limb_unit, units[d])
                                   : static_cast<double>(arrays.sizes[cluster]);
    if (weight == 0) {
        return;
    }
    const double inverse = 1 / weight;
    for (int first = lane; first < d; first += 32 * kEach) {
        LimbSum sums[kEach];
        load_sums(row, layout, limbs, limb_unit, first, d, false, sums);
#pragma unroll
        for (int c = 0; c < kEach; c++) {
            const int column = first + 32 * c;
            if (column < d) {
                const double total = sums[c].rounded * units[column];
                arrays.centroids[cluster * d + column] = static_cast<float>(total * inverse);
            }
        }
    }
}

/// By one block.
__global__ void __launch_bounds__(kDrawThreads)
        end_epoch_kernel(const int64_t* sizes, int64_t k, EpochStats* epoch) {
    using Reduce = cub::BlockReduce<double, kDrawThreads>;
    __shared__ typename Reduce::TempStorage storage;
    double squares = 0; // integers: exact in any order as far as a double holds them
    for (int64_t i = threadIdx.x; i < k; i += kDrawThreads) {
        const auto size = static_cast<double>(sizes[i]);
        squares += size * size;
    }
    squares = Reduce(storage).Sum(squares);
    if (threadIdx.x == 0) {
        epoch->squares = squares;
        epoch->ended = ptx::globaltimer();
    }
}

} // namespace

AverageArrays::AverageArrays(const SumFormat& format, Arena& arena) {
    const int64_t k = format.workload.k;
    const int64_t d = format.workload.d;
    centroids = arena.take<float>(k * d);
    usage = arena.take<double>(k);
    sums = arena.take<double>(k * d);
    sizes = arena.take<int64_t>(k);
    all_sums = arena.take<long long>(format.sums.sizes());
    epoch = arena.take<EpochStats>(1);
    assigned = arena.take<uint64_t>(1);
    ends = arena.take<int64_t>(k);
    first_draw = arena.take<int32_t>(k);
    revived = arena.take<int32_t>(k);
    pairs = arena.take<int2>(k);
    count = arena.take<int32_t>(1);
}

void begin_averages(const AverageArrays& arrays, int64_t k, int64_t d, cudaStream_t stream) {
    begin_kernel<<<blocks_of(k * d, kThreads), kThreads, 0, stream>>>(arrays, k, d);
    check_launch("the first averages");
}

void begin_epoch(const AverageArrays& arrays, const DoubleDouble* squares, cudaStream_t stream) {
    begin_epoch_kernel<<<1, 1, 0, stream>>>(arrays.epoch, squares);
    check_launch("beginning an epoch");
}

void move_averages(
        const Sums& sums,
        const SumFormat& format,
        const EmeansBatch& batch,
        int64_t frozen,
        const AverageArrays& arrays,
        cudaStream_t stream) {
    const Workload& workload = format.workload;
    MoveArguments arguments{arrays};
    arguments.sums = reinterpret_cast<long long*>(sums.data);
    arguments.sizes = reinterpret_cast<unsigned long long*>(sums.data + format.sums.sizes());
    arguments.counts = reinterpret_cast<IterationCounts*>(sums.data + format.sums.counts());
    arguments.values = workload.weighted
                               ? reinterpret_cast<LongSum*>(sums.data + format.sums.values())
                               : nullptr;
    arguments.keep = sums.kept > 0;
    arguments.l2 = workload.metric == Metric::l2;
    arguments.batch = batch;
    arguments.k = workload.k;
    arguments.frozen = frozen;
    arguments.d = static_cast<int>(workload.d);
    arguments.layout = format.layout;
    arguments.units = format.units;
    arguments.limb_unit = 1 / format.limb_step;
    arguments.limbs = format.limbs;
    move_kernel<<<blocks_of(workload.k * 32, kThreads), kThreads, 0, stream>>>(arguments);
    check_launch("moving averages");
}

void revive(
        const AverageArrays& arrays,
        int64_t k,
        int64_t d,
        int64_t frozen,
        double scale,
        uint64_t seed,
        cudaStream_t stream) {
    const auto clusters = static_cast<int32_t>(k - frozen);
    const auto first = static_cast<int32_t>(frozen);
    if (clusters == 0) {
        return;
    }
    draw_kernel<<<1, kDrawThreads, 0, stream>>>(arrays, first, clusters, scale, seed);
    check_launch("drawing donors");
    const unsigned most = 2 * static_cast<unsigned>(device_info().multiprocessors);
    const unsigned blocks = std::min(most, blocks_of(int64_t{clusters} * 32, kThreads));
    revive_kernel<<<blocks, kThreads, 0, stream>>>(arrays, first, static_cast<int>(d));
    check_launch("reviving clusters");
}

void end_epoch(
        const AverageArrays& arrays,
        const SumFormat& format,
        bool last,
        int64_t frozen,
        cudaStream_t stream) {
    const Workload& workload = format.workload;
    if (last) {
        close_kernel<<<blocks_of(workload.k * 32, kThreads), kThreads, 0, stream>>>(
                arrays,
                frozen,
                workload.k,
                static_cast<int>(workload.d),
                format.layout,
                format.limbs,
                1 / format.limb_step,
                format.units,
                workload.weighted);
        check_launch("means of the last epoch");
    }
    end_epoch_kernel<<<1, kDrawThreads, 0, stream>>>(arrays.sizes, workload.k, arrays.epoch);
    check_launch("ending an epoch");
}

} // namespace faiss_flash::cuda
