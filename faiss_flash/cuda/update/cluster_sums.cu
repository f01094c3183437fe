// Compiled without contraction: terms are rounded as the CPU backend rounds them.
//
// Budget: see sort.cu and sums.cuh; K (d + 1) limbs 8 bytes of sums are read and cleared once.
//
// 1. The points that moved are found; where they are many, all points are taken.
// 2. They are sorted by cluster.
// 3. Rows are gathered in that order and summed up in integers.
// Few rows take none of these steps (row_sums.cu).
#include <faiss_flash/cuda/device_info.h>
#include <faiss_flash/cuda/runtime/check.h>
#include <faiss_flash/cuda/update/cluster_sums.h>
#include <faiss_flash/cuda/update/row_facts.h>
#include <faiss_flash/cuda/update/row_sums.h>
#include <faiss_flash/cuda/elements.cuh>
#include <faiss_flash/cuda/update/sums.cuh>

#include <algorithm>

namespace faiss_flash::cuda {

namespace {

constexpr int kThreads = 128;
constexpr int kChunk = 128;  // points of a block of the general kernel
constexpr int kMostRun = 64; // points of a group of lanes: pieces add up in 32 bits

/// The same as sum_kernel() for weights, and for values that float32 arithmetic cannot cut: a
/// thread sums a column in float64 and integers.
template <class Element>
__global__ void general_sum_kernel(const SumArguments arguments, const float* weights) {
    __shared__ int2 order[kChunk];
    __shared__ float chunk_weights[kChunk];
    const auto problem = static_cast<int32_t>(blockIdx.z);
    const int64_t first_point = int64_t{problem} * arguments.entries.n;
    const int64_t first_cluster = int64_t{problem} * arguments.entries.k;
    const int first = static_cast<int>(blockIdx.x) * kChunk;
    const int count = min(kChunk, arguments.entries.count(problem) - first);
    for (int i = static_cast<int>(threadIdx.x); i < count; i += kThreads) {
        const int2 entry = arguments.order[first_point + first + i];
        const int64_t point = first_point + (entry.x & ~Entries::kTaken);
        order[i] = entry;
        chunk_weights[i] = (entry.x < 0 ? -1.0f : 1.0f) * (weights ? weights[point] : 1.0f);
    }
    __syncthreads();
    const int places = arguments.layout.places;
    const int columns = weights ? arguments.d + 1 : arguments.d; // the last one sums the weights
    for (int column = static_cast<int>(threadIdx.x); column < columns; column += kThreads) {
        const int place = column < arguments.d ? arguments.layout.place(column) : places - 1;
        const double scale = arguments.scales[problem * (arguments.d + 1) + column];
        long long mine[FixedPoint::kMaxLimbs] = {};
        long long gained = 0;
        for (int i = 0; i < count; i++) {
            const int64_t point = first_point + (order[i].x & ~Entries::kTaken);
            const auto* row =
                    reinterpret_cast<const Element*>(arguments.rows + point * arguments.row_bytes);
            const float x = column < arguments.d ? static_cast<float>(row[column]) : 1.0f;
            gained += order[i].x < 0 ? -1 : 1;
            double rest = double{chunk_weights[i]} * double{x} * scale;
            for (int limb = 0; limb < arguments.limbs; limb++) {
                mine[limb] += take_limb(rest, arguments.limb_step);
            }
            const int cluster = order[i].y;
            if (i + 1 == count || order[i + 1].y != cluster) {
                unsigned long long* to = arguments.sums +
                                         (first_cluster + cluster) * arguments.limbs * places +
                                         place;
                for (int limb = 0; limb < arguments.limbs; limb++) {
                    atomicAdd(to + limb * places, static_cast<unsigned long long>(mine[limb]));
                    mine[limb] = 0;
                }
                if (column == 0) {
                    atomicAdd(
                            arguments.counts + first_cluster + cluster,
                            static_cast<unsigned long long>(gained));
                }
                gained = 0;
            }
        }
    }
}

/// Zeros for problems whose points are all entries.
__global__ void clear_kernel(
        const Entries entries,
        unsigned long long* sums,
        int64_t sums_a_problem,
        unsigned long long* counts) {
    const auto problem = static_cast<int32_t>(blockIdx.y);
    if (!entries.all(problem)) {
        return;
    }
    const int64_t first = int64_t{blockIdx.x} * kThreads + threadIdx.x;
    const int64_t step = int64_t{gridDim.x} * kThreads;
    for (int64_t i = first; i < sums_a_problem; i += step) {
        sums[problem * sums_a_problem + i] = 0;
    }
    for (int64_t i = first; i < entries.k; i += step) {
        counts[int64_t{problem} * entries.k + i] = 0;
    }
}

} // namespace

ClusterSums::ClusterSums(
        const DeviceRows& rows,
        int64_t most,
        const float* weights,
        const SumFormat& format,
        Arena& arena)
    : rows_(rows),
      most_(most),
      weights_(weights),
      format_(format),
      sums_(arena.take<int64_t>(format.sums.count())),
      squares_(
              format.has_squares ? arena.take<int64_t>(rows.batch * format.square_limbs * rows.d)
                                 : nullptr) {
    const int64_t k = format.workload.k;
    if (!are_few(rows.part({0, most}), k)) {
        order_.emplace(rows.batch, most, k, arena);
    }
    if (!EntryOrder::is_short(most, k)) {
        moved_.emplace(rows.batch, most, k, arena);
    }
}

void ClusterSums::start(cudaStream_t stream) {
    const auto bytes = [](int64_t count) { return static_cast<size_t>(count) * sizeof(int64_t); };
    check(cudaMemsetAsync(sums_, 0, bytes(format_.sums.count()), stream), "clearing the sums");
    if (moved_) {
        moved_->forget(stream);
    }
    if (squares_) {
        const Sums all = squares();
        check(cudaMemsetAsync(all.data, 0, bytes(all.count), stream), "clearing the squares");
        add_squares(rows_, format_, all.data, stream);
    }
}

IterationCounts* ClusterSums::counts() const {
    return reinterpret_cast<IterationCounts*>(sums_ + format_.sums.counts());
}

LongSum* ClusterSums::values() const {
    return reinterpret_cast<LongSum*>(sums_ + format_.sums.values());
}

Sums ClusterSums::squares() const {
    const int64_t count = rows_.batch * format_.square_limbs * rows_.d;
    return {squares_, count, count};
}

void ClusterSums::sum(
        const DeviceRows& rows, const float* weights, const Entries& entries, cudaStream_t stream) {
    SumArguments arguments{};
    arguments.rows = static_cast<const uint8_t*>(rows.data);
    arguments.row_bytes = rows.row_bytes;
    arguments.entries = entries;
    arguments.order = order_->get();
    arguments.d = static_cast<int>(rows.d);
    arguments.layout = format_.layout;
    arguments.scales = format_.scales;
    arguments.lower_bits = format_.limb_bits - kUpperBits;
    arguments.limbs = format_.limbs;
    arguments.limb_step = format_.limb_step;
    arguments.sums = reinterpret_cast<unsigned long long*>(sums_);
    arguments.counts = arguments.sums + format_.sums.sizes();
    const auto batch = static_cast<unsigned>(rows.batch);
    with_row_part(rows, [&](auto element, auto columns, auto vectors) {
        using Element = decltype(element);
        if (!format_.in_float) {
            const dim3 grid(blocks_of(rows.n, kChunk), 1, batch);
            general_sum_kernel<Element><<<grid, kThreads, 0, stream>>>(arguments, weights);
            return;
        }
        const int groups = kSumThreads / format_.layout.lanes();
        const unsigned slices = blocks_of(rows.d, format_.layout.slice());
        // Shorter runs where longer ones would leave processors idle.
        int run = std::min(kMostRun, kMostSumEntries / groups);
        const int64_t wanted = int64_t{16} * device_info().multiprocessors;
        while (run > kSumBatch && rows.batch * slices * blocks_of(rows.n, groups * run) < wanted) {
            run /= 2;
        }
        arguments.chunk = groups * run;
        const dim3 grid(blocks_of(rows.n, arguments.chunk), slices, batch);
        constexpr bool kMayRest = sizeof(Element) > 1; // integers end above the first limb's end
        const auto kernel = kMayRest && format_.limbs > 1
                                    ? sum_kernel<Element, columns, vectors, kMayRest>
                                    : sum_kernel<Element, columns, vectors, false>;
        kernel<<<grid, kSumThreads, 0, stream>>>(arguments);
    });
    check_launch("summing the clusters");
}

Sums ClusterSums::run(const RowRange& taken, const int32_t* ids, cudaStream_t stream) {
    const SumsLayout& layout = format_.sums;
    const DeviceRows rows = rows_.part(taken);
    const float* weights = weights_ ? weights_ + taken.first : nullptr;
    if (!order_) {
        add_rows(rows, weights, ids, format_, sums_, stream);
        return {sums_, layout.count(), 0};
    }
    Entries entries{};
    entries.ids = ids;
    entries.n = static_cast<int32_t>(rows.n);
    entries.k = static_cast<int32_t>(layout.k);
    const bool keeps = moved_ && most_ == rows_.n;
    if (keeps) {
        entries = moved_->find(ids, counts(), stream);
        const int64_t sums = layout.k * layout.row;
        const dim3 grid(
                std::min(blocks_of(sums, kThreads), 2048u), static_cast<unsigned>(rows.batch));
        auto* data = reinterpret_cast<unsigned long long*>(sums_);
        clear_kernel<<<grid, kThreads, 0, stream>>>(entries, data, sums, data + layout.sizes());
        check_launch("clearing the sums");
    } else if (moved_) {
        entries = moved_->all(ids, rows.n, counts(), stream);
    }
    order_->run(entries, counts(), stream);
    sum(rows, weights, entries, stream);
    return {sums_, layout.count(), keeps ? layout.counts() : 0};
}

} // namespace faiss_flash::cuda
