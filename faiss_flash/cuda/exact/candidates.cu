// Compiled without contraction: sums in float64 have the CPU backend's bits.
//
// Budget for M open rows: M / N of a first pass; besides, 8 d bytes a row copied, 4 d read for the
// row and for each of its candidates (two as a rule, most of them from L2).
//
// 1. The f16 rows of some of the open rows are brought together: the copy engine cannot gather.
// 2. The first pass's kernels make their scores again and list what reaches a row's bar
//    (assign/listed_candidates.cuh).
// 3. Eight lanes a row measure its candidates in float64, two at a time. A row whose lists
//    overflow, and one with a NaN, whose every score is listed, is left to decide_rest().
// How many rows are open is known on the device only: what has nothing to do ends at once.
#include <faiss_flash/cuda/device_info.h>
#include <faiss_flash/cuda/exact/candidates.h>
#include <faiss_flash/cuda/runtime/check.h>
#include <faiss_flash/cuda/runtime/copy.h>
#include <faiss_flash/cuda/runtime/event.h>
#include <faiss_flash/cuda/exact/measured.cuh>

#include <algorithm>

namespace faiss_flash::cuda {

namespace {

constexpr int kThreads = 128;
constexpr int kGroups = kThreads / kLanes;
constexpr int kMostParts = kMostFilterSplits * kMostLists; // lists of a row

int64_t ceil_div(int64_t a, int64_t b) {
    return (a + b - 1) / b;
}

int64_t wait_for_count(const OpenRows& open, cudaStream_t stream) {
    Event known;
    known.record(stream);
    known.wait();
    int32_t count = 0;
    copy(&count, open.count, 1, cudaMemcpyDeviceToHost, stream);
    check(cudaStreamSynchronize(stream), "counting open rows");
    return count;
}

/// Bytes of device memory for a row that is compared.
int64_t row_bytes(int64_t d, const AssignPlan& plan) {
    const int64_t lists = plan.splits * lists_of(plan.kernel);
    return 2 * padded_columns(d) + 4 + lists * (4 * kListEntries + 1);
}

/// Rows that are compared at a time: enough to fill the processors, and few beside the points.
int64_t chunk_rows(int64_t n, int64_t row_bytes) {
    constexpr int64_t kLeast = 16384;
    constexpr int64_t kBytesAPoint = 12;
    const int64_t parts = std::max<int64_t>(1, kBytesAPoint * n / row_bytes / kLeast);
    return std::min(parts * kLeast, ceil_div(n, kCandidateRows) * kCandidateRows);
}

/// Rows first ... of the open ones, and their bars; zeros and bars that nothing reaches for the
/// rest of a tile.
__global__ void gather_kernel(
        const uint4* halves,
        const float* bars,
        OpenRows open,
        int64_t first,
        int32_t capacity,
        int32_t row_pieces,
        uint4* to,
        float* to_bars,
        int32_t* chunk_count) {
    const auto count = static_cast<int32_t>(
            max(int64_t{0}, min(int64_t{capacity}, int64_t{*open.count} - first)));
    if (blockIdx.x == 0 && threadIdx.x == 0) {
        *chunk_count = count;
    }
    constexpr auto kTile = static_cast<int32_t>(kCandidateRows);
    const int64_t padded = (count + kTile - 1) / kTile * kTile;
    for (int64_t at = int64_t{blockIdx.x} * blockDim.x + threadIdx.x; at < padded * row_pieces;
         at += int64_t{gridDim.x} * blockDim.x) {
        const int64_t i = at / row_pieces;
        const int64_t piece = at % row_pieces;
        const int64_t row = i < count ? open.rows[first + i] : 0;
        to[at] = i < count ? halves[row * row_pieces + piece] : uint4{};
        if (piece == 0) {
            to_bars[i] = i < count ? bars[row] : INFINITY;
        }
    }
}

/// Open rows from `first` on are left.
__global__ void leave_kernel(OpenRows open, int64_t first, OpenRows rest) {
    for (int64_t i = first + int64_t{blockIdx.x} * blockDim.x + threadIdx.x; i < *open.count;
         i += int64_t{gridDim.x} * blockDim.x) {
        rest.rows[atomicAdd(rest.count, 1)] = open.rows[i];
    }
}

struct ListedArguments {
    const float* points;    // [n x d]
    const float* centroids; // [k x d]
    int32_t k;
    int64_t d;
    bool l2;
    const int32_t* open;
    const int32_t* count;
    CandidateLists candidates;
    int lists, parts; // of a row: in a part of the centroids, and in all
    int32_t* ids;
    OpenRows rest;
    int32_t* decided; // one, added to
};

/// Brings the entries of the lists of open row i together, by the lanes of a group. Returns how
/// many they are; whole: no list has left any out.
__device__ int collect(
        const ListedArguments& arguments, int64_t i, uint32_t* entries, bool& whole) {
    const int lane = static_cast<int>(threadIdx.x) % kLanes;
    int all = 0;
    whole = true;
    for (int part = 0; part < arguments.parts; part++) {
        const int64_t list =
                (part / arguments.lists * arguments.candidates.rows + i) * arguments.lists +
                part % arguments.lists;
        const int listed = arguments.candidates.counts[list];
        const int count = min(listed, kListEntries);
        for (int entry = lane; entry < count; entry += kLanes) {
            entries[all + entry] = arguments.candidates.entries[list * kListEntries + entry];
        }
        all += count;
        whole = whole && listed == count;
    }
    __syncwarp(group_mask());
    return all;
}

/// The candidates of a row's entries, one after the other.
class Candidates {
   public:
    __device__ Candidates(const uint32_t* entries, int count)
        : entries_(entries), left_(count), columns_(count > 0 ? columns_of(*entries) : 0) {}
    __device__ bool more() const { return left_ > 0; }
    __device__ int32_t next() {
        const int32_t id = listed_centroid(*entries_, __ffs(static_cast<int>(columns_)) - 1);
        columns_ &= columns_ - 1;
        if (columns_ == 0) {
            entries_++;
            columns_ = --left_ > 0 ? columns_of(*entries_) : 0;
        }
        return id;
    }

   private:
    const uint32_t* entries_;
    int left_;
    uint32_t columns_;
};

/// A group a row: the groups of a warp go through their candidates side by side.
__global__ void __launch_bounds__(kThreads) decide_listed_kernel(const ListedArguments arguments) {
    __shared__ uint32_t entries[kGroups][kMostParts * kListEntries];
    const int group = static_cast<int>(threadIdx.x) / kLanes;
    const bool first_lane = threadIdx.x % kLanes == 0;
    const int64_t i = int64_t{blockIdx.x} * kGroups + group;
    bool several = false;
    if (i < *arguments.count) {
        const int32_t row = arguments.open[i];
        bool whole = true;
        const int count = collect(arguments, i, entries[group], whole);
        Candidates candidates(entries[group], count);
        const auto centroid = [&](int32_t id) {
            return arguments.centroids + min(id, arguments.k - 1) * arguments.d;
        };
        const float* x = arguments.points + row * arguments.d;
        int32_t best_id = -1;
        double best = 0;
        while (candidates.more()) {
            const int32_t id = candidates.next();
            const int32_t other = candidates.more() ? candidates.next() : id;
            several = several || other != id; // the only one needs no measure
            double2 values{};
            if (several) {
                values = measured_pair(x, centroid(id), centroid(other), arguments.d, arguments.l2);
            }
            if (best_id < 0 || beats(values.x, id, best, best_id, arguments.l2)) {
                best = values.x;
                best_id = id;
            }
            if (beats(values.y, other, best, best_id, arguments.l2)) {
                best = values.y;
                best_id = other;
            }
        }
        // Every score of a row with a NaN or an Inf is listed, those of no centroid included.
        whole = whole && best_id >= 0 && isfinite(best);
        if (first_lane && best_id >= 0 && best_id < arguments.k) {
            arguments.ids[row] = best_id; // where not whole: a good guess
        }
        if (first_lane && !whole) {
            arguments.rest.rows[atomicAdd(arguments.rest.count, 1)] = row;
        }
        several = several && whole;
    }
    const int decided = __syncthreads_count(first_lane && several);
    if (threadIdx.x == 0 && decided > 0) {
        atomicAdd(arguments.decided, decided);
    }
}

} // namespace

int64_t candidates_bytes(int64_t n, int64_t d, int64_t k) {
    const AssignPlan plan = filter_plan(k, d, false, device_info()); // of the same parts and lists
    return chunk_rows(n, row_bytes(d, plan)) * row_bytes(d, plan);
}

void decide_candidates(
        const DevicePoints& points,
        const CentroidTable& table,
        const ExactCentroids& centroids,
        const OpenRows& open,
        const float* bars,
        std::optional<int64_t> expected,
        const Decided& output,
        cudaStream_t stream) {
    const int64_t n = points.n();
    const int64_t d = points.d();
    const bool folded = table.folded.get() != nullptr;
    const AssignPlan plan = filter_plan(centroids.k, d, folded, device_info());
    const int lists = lists_of(plan.kernel);
    const int64_t capacity = chunk_rows(n, row_bytes(d, plan));
    const auto rows = static_cast<size_t>(capacity);
    const auto all_lists = rows * static_cast<size_t>(plan.splits * lists);
    const Buffer<uint16_t> halves(rows * static_cast<size_t>(padded_columns(d)), stream);
    const Buffer<float> chunk_bars(rows, stream);
    const Buffer<uint32_t> entries(all_lists * kListEntries, stream);
    const Buffer<uint8_t> counts(all_lists, stream);
    const Buffer<int32_t> chunk_count(1, stream);
    TensorRows chunk = packed_rows(halves.get(), false, 1, capacity, d, padded_columns(d));
    chunk.row_count = chunk_count.get();

    ListedArguments arguments{};
    arguments.points = points.rows();
    arguments.centroids = centroids.values;
    arguments.k = static_cast<int32_t>(centroids.k);
    arguments.d = d;
    arguments.l2 = centroids.metric == Metric::l2;
    arguments.count = chunk_count.get();
    arguments.candidates = {chunk_bars.get(), entries.get(), counts.get(), capacity};
    arguments.lists = lists;
    arguments.parts = plan.splits * lists;
    arguments.ids = output.ids;
    arguments.rest = output.rest;
    arguments.decided = output.count;

    const auto blocks = static_cast<unsigned>(8 * device_info().multiprocessors);
    const int64_t to_list = expected ? std::min(n, *expected) : wait_for_count(open, stream);
    const int64_t chunks = ceil_div(to_list, capacity);
    for (int64_t first = 0; first < chunks * capacity; first += capacity) {
        gather_kernel<<<blocks, 256, 0, stream>>>(
                static_cast<const uint4*>(points.tensor().data),
                bars,
                open,
                first,
                static_cast<int32_t>(capacity),
                static_cast<int32_t>(padded_columns(d) / 8),
                reinterpret_cast<uint4*>(halves.get()),
                chunk_bars.get(),
                chunk_count.get());
        check_launch("gathering open rows");
        list_candidates(chunk, table, arguments.candidates, stream, plan);
        arguments.open = open.rows + first;
        decide_listed_kernel<<<blocks_of(capacity, kGroups), kThreads, 0, stream>>>(arguments);
        check_launch("deciding between candidates");
    }
    if (chunks * capacity < n) {
        leave_kernel<<<blocks, 256, 0, stream>>>(open, chunks * capacity, output.rest);
        check_launch("leaving open rows");
    }
}

} // namespace faiss_flash::cuda
