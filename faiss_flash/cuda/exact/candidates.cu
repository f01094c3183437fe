// Compiled without contraction: sums in float64 have the CPU backend's bits.
//
// Budget for M open rows: M / N of a first pass; besides, 4 d bytes a row copied, the row read in
// its own type, and 4 d for each of its candidates (two as a rule, most of them from L2).
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
#include <faiss_flash/cuda/elements.cuh>
#include <faiss_flash/cuda/exact/measured.cuh>

#include <algorithm>

namespace faiss_flash::cuda {

namespace {

constexpr int kThreads = 128;
constexpr int kBlockRows = kThreads / kLanes;
constexpr int kMostParts = kMostFilterSplits * kMostLists; // lists of a row

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
    return 2 * padded_columns(d) + 8 + lists * (4 * kListEntries + 1);
}

/// Rows that are compared at a time: enough to fill the processors, and few beside the points.
int64_t chunk_rows(int64_t n, int64_t row_bytes) {
    constexpr int64_t kLeast = 16384;
    constexpr int64_t kBytesAPoint = 10;
    const int64_t rows = std::min(n, std::max(kLeast, kBytesAPoint * n / row_bytes));
    return ceil_div(rows, kCandidateRows) * kCandidateRows;
}

/// Some of the open rows, brought together.
struct ChunkRows {
    uint4* halves;  // [capacity x row_pieces]
    float* bars;    // [capacity]
    int32_t* rows;  // [capacity] numbers of the points
    int32_t* count; // one
    int32_t capacity;
    int32_t row_pieces;
};

/// Rows first ... of the open ones, blockDim.x threads a row; zeros and bars that nothing reaches
/// for the rest of a tile.
__global__ void gather_kernel(
        const uint4* halves, const float* bars, OpenRows open, int64_t first, ChunkRows chunk) {
    const auto count = static_cast<int32_t>(
            max(int64_t{0}, min(int64_t{chunk.capacity}, int64_t{*open.count} - first)));
    const auto thread = static_cast<int32_t>(threadIdx.x);
    auto i = static_cast<int32_t>(blockIdx.x * blockDim.y + threadIdx.y);
    if (i == 0 && thread == 0) {
        *chunk.count = count;
    }
    constexpr auto kTile = static_cast<int32_t>(kCandidateRows);
    const int32_t padded = (count + kTile - 1) / kTile * kTile;
    const auto row_at = [&](int32_t at) { return at < count ? open.rows[first + at] : 0; };
    const auto stride = static_cast<int32_t>(gridDim.x * blockDim.y);
    int32_t next = row_at(i); // on its way while a row is copied
    for (; i < padded; i += stride) {
        const int32_t row = next;
        next = row_at(i + stride);
        const uint4* from = halves + int64_t{row} * chunk.row_pieces;
        uint4* to = chunk.halves + int64_t{i} * chunk.row_pieces;
        for (int32_t piece = thread; piece < chunk.row_pieces; piece += blockDim.x) {
            to[piece] = i < count ? from[piece] : uint4{};
        }
        if (thread == 0) {
            chunk.bars[i] = i < count ? bars[row] : INFINITY;
            chunk.rows[i] = row;
        }
    }
}

struct ListedArguments {
    const uint8_t* points; // row_bytes apart
    int64_t row_bytes;
    const float* centroids; // [k x d]
    int32_t k;
    int64_t d;
    bool l2;
    const int32_t* rows; // [*count] numbers of the points
    const int32_t* count;
    CandidateLists candidates;
    int lists, parts; // of a row: in a part of the centroids, and in all
    Decided output;
    RestRows rest;
};

/// Brings the entries of the lists of row i of the chunk together, by the lanes of a row. Returns
/// how many they are; whole: no list has left any out.
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
    __device__ bool several() const { return left_ > 1 || (columns_ & (columns_ - 1)) != 0; }
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

/// The row is on its way while its candidates are looked up.
__device__ void prefetch_row(const uint8_t* x, int64_t bytes) {
    constexpr int kLine = 128;
    for (int64_t at = threadIdx.x % kLanes * kLine; at < bytes; at += kLanes * kLine) {
        asm volatile("prefetch.L2 [%0];" ::"l"(x + at));
    }
}

template <class Element>
__global__ void __launch_bounds__(kThreads) decide_listed_kernel(const ListedArguments arguments) {
    __shared__ uint32_t entries[kBlockRows][kMostParts * kListEntries];
    const int own = static_cast<int>(threadIdx.x) / kLanes; // the row of the thread's lanes
    const bool first_lane = threadIdx.x % kLanes == 0;
    const int64_t i = int64_t{blockIdx.x} * kBlockRows + own;
    bool measures = false;
    if (i < *arguments.count) {
        const int32_t row = arguments.rows[i];
        const uint8_t* from = arguments.points + row * arguments.row_bytes;
        const auto* x = reinterpret_cast<const Element*>(from);
        prefetch_row(from, arguments.d * sizeof(Element));
        bool whole = true;
        const int count = collect(arguments, i, entries[own], whole);
        Candidates candidates(entries[own], count);
        Best best;
        if (candidates.several()) {
            measures = true;
            take_all(
                    candidates,
                    x,
                    arguments.centroids,
                    arguments.k,
                    arguments.d,
                    arguments.l2,
                    best);
        } else if (candidates.more()) {
            best.id = candidates.next(); // the only one needs no measure
        }
        // Every score of a row with a NaN or an Inf is listed, those of no centroid included.
        whole = whole && best.id >= 0 && isfinite(best.value);
        if (first_lane && best.id >= 0 && best.id < arguments.k) {
            arguments.output.ids[row] = best.id; // where not whole: a good guess
        }
        if (first_lane && !whole) {
            // To the front of the open rows: those are in the chunk, or gone.
            arguments.rest.open.rows[atomicAdd(arguments.rest.moved, 1)] = row;
        }
        measures = measures && whole;
    }
    const int decided = __syncthreads_count(first_lane && measures);
    if (threadIdx.x == 0 && decided > 0) {
        atomicAdd(arguments.output.count, decided);
    }
}

} // namespace

CandidateWorkspace::CandidateWorkspace(int64_t n, int64_t d, int64_t k, bool folds, Arena& arena)
    : plan(filter_plan(n, k, d, folds, device_info())),
      capacity(chunk_rows(n, row_bytes(d, plan))),
      halves(arena.take<uint16_t>(capacity * padded_columns(d))),
      bars(arena.take<float>(capacity)),
      rows(arena.take<int32_t>(capacity)),
      count(arena.take<int32_t>(1)) {
    const int64_t lists = capacity * plan.splits * lists_of(plan.kernel);
    entries = arena.take<uint32_t>(lists * kListEntries);
    counts = arena.take<uint8_t>(lists);
}

int64_t listing_passes(const CandidateWorkspace& workspace, int64_t n, int64_t expected) {
    return ceil_div(std::min(n, expected), workspace.capacity);
}

void decide_candidates(
        const DevicePoints& points,
        const TensorCentroids& table,
        const ExactCentroids& centroids,
        const float* bars,
        std::optional<int64_t> expected,
        const CandidateWorkspace& workspace,
        const Decided& output,
        RestRows& rest,
        cudaStream_t stream) {
    const int64_t d = points.d();
    const int64_t capacity = workspace.capacity;
    const ChunkRows chunk{
            reinterpret_cast<uint4*>(workspace.halves),
            workspace.bars,
            workspace.rows,
            workspace.count,
            static_cast<int32_t>(capacity),
            static_cast<int32_t>(padded_columns(d) / 8)};
    TensorRows tensor = packed_rows(workspace.halves, false, 1, capacity, d, padded_columns(d));
    tensor.row_count = workspace.count;

    ListedArguments arguments{};
    arguments.points = static_cast<const uint8_t*>(points.rows().data);
    arguments.row_bytes = points.rows().row_bytes;
    arguments.centroids = centroids.values;
    arguments.k = static_cast<int32_t>(centroids.k);
    arguments.d = d;
    arguments.l2 = centroids.metric == Metric::l2;
    arguments.rows = workspace.rows;
    arguments.count = workspace.count;
    arguments.candidates = {workspace.bars, workspace.entries, workspace.counts, capacity};
    arguments.lists = lists_of(workspace.plan.kernel);
    arguments.parts = workspace.plan.splits * arguments.lists;
    arguments.output = output;
    arguments.rest = rest;

    const auto blocks = static_cast<unsigned>(8 * device_info().multiprocessors);
    const int64_t passes = listing_passes(
            workspace, points.n(), expected ? *expected : wait_for_count(rest.open, stream));
    for (int64_t pass = 0; pass < passes; pass++, rest.taken += capacity) {
        gather_kernel<<<blocks, dim3(8, 32), 0, stream>>>(
                static_cast<const uint4*>(points.tensor().data),
                bars,
                rest.open,
                rest.taken,
                chunk);
        check_launch("gathering open rows");
        list_candidates(tensor, table, arguments.candidates, stream, workspace.plan);
        with_element(points.rows().dtype, [&](auto element) {
            decide_listed_kernel<decltype(element)>
                    <<<blocks_of(capacity, kBlockRows), kThreads, 0, stream>>>(arguments);
        });
        check_launch("deciding between candidates");
    }
}

} // namespace faiss_flash::cuda
