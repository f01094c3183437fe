// Budget: the clusters twice, 8 bytes an entry out.
//
// A counting sort that need not be stable, in three kernels: count the clusters' entries, scan the
// counts, hand out places. Small problems take one block and one kernel. Where the clusters' counts
// fit in shared memory, a block counts its entries there, claims a range of each cluster, and puts
// its entries in order before they are written, so that neighbours go to neighbouring places; else
// every entry counts and claims for itself. (CUB's radix sort takes two passes over keys and values
// from 9 bits on: three times as long for 8M points and 1024 clusters.)
#include <faiss_flash/cuda/device_info.h>
#include <faiss_flash/cuda/runtime/check.h>
#include <faiss_flash/cuda/runtime/shared_memory.h>
#include <faiss_flash/cuda/update/sort.h>
#include <faiss_flash/cuda/update/invalid_ids.cuh>

#include <cub/block/block_scan.cuh>

namespace faiss_flash::cuda {

namespace {

constexpr int kThreads = 1024;
constexpr int kScanItems = 4;
constexpr int kChunkBits = 14; // 2^this entries of a block
constexpr int kLargeChunkBits = 15;
constexpr int64_t kLarge = int64_t{1} << 24; // points that make enough large chunks
constexpr int kMostSharedClusters = 8192;

size_t chunk_bytes(int64_t k, int bits) {
    return (2 * static_cast<size_t>(k) + (size_t{1} << bits)) * sizeof(int32_t);
}

/// True where chunks are put in order in shared memory.
bool fits_shared(int64_t k, int bits) {
    constexpr size_t kReserve = 2048; // of the scan
    return k <= kMostSharedClusters &&
           chunk_bytes(k, bits) + kReserve <= static_cast<size_t>(device_info().shared_bytes);
}

/// Exclusive sums of counts [k] in shared memory, in place.
__device__ void scan_shared(int32_t* counts, int32_t k) {
    using Scan = cub::BlockScan<int32_t, kThreads, cub::BLOCK_SCAN_WARP_SCANS>;
    __shared__ typename Scan::TempStorage storage;
    // A thread's own stretch, of odd length: no two lanes of a warp in one bank.
    const int32_t each = (k + kThreads - 1) / kThreads | 1;
    const int32_t first = min(k, static_cast<int32_t>(threadIdx.x) * each);
    const int32_t end = min(k, first + each);
    int32_t before = 0;
    for (int32_t c = first; c < end; c++) {
        before += counts[c];
    }
    Scan(storage).ExclusiveSum(before, before);
    for (int32_t c = first; c < end; c++) {
        const int32_t count = counts[c];
        counts[c] = before;
        before += count;
    }
    __syncthreads();
}

/// ids that a thread holds, 16 bits each: two passes read them once.
template <int kBits>
struct ChunkIds {
    static constexpr int kEach = (1 << kBits) / kThreads;
    uint32_t pairs[kEach / 2];

    __device__ static int index(int i) { return i * kThreads + static_cast<int>(threadIdx.x); }
    /// id_of(i): of the i-th of `count` entries.
    template <class IdOf>
    __device__ void load(int32_t count, const IdOf& id_of) {
#pragma unroll
        for (int i = 0; i < kEach; i += 2) {
            if (i * kThreads >= count) {
                break;
            }
            const int32_t low = index(i) < count ? id_of(index(i)) : 0;
            const int32_t high = index(i + 1) < count ? id_of(index(i + 1)) : 0;
            pairs[i / 2] = static_cast<uint32_t>(high << 16 | low);
        }
    }
    /// body(id, index in the chunk) for each of the `count` that the thread holds.
    template <class Body>
    __device__ void for_each(int32_t count, const Body& body) const {
#pragma unroll
        for (int i = 0; i < kEach; i++) {
            if (i * kThreads >= count) {
                break;
            }
            if (index(i) < count) {
                const uint32_t id = i % 2 == 0 ? pairs[i / 2] & 0xFFFF : pairs[i / 2] >> 16;
                body(static_cast<int32_t>(id), index(i));
            }
        }
    }
};

/// Counts of the ids in shared memory.
template <int kBits>
__device__ void count_shared(
        const ChunkIds<kBits>& ids, int32_t count, int32_t k, int32_t* counts) {
    for (auto c = static_cast<int32_t>(threadIdx.x); c < k; c += kThreads) {
        counts[c] = 0;
    }
    __syncthreads();
    ids.for_each(count, [&](int32_t id, int /*index*/) { atomicAdd(counts + id, 1); });
    __syncthreads();
}

/// All of a small problem, one block each.
__global__ void __launch_bounds__(kThreads)
        block_sort_kernel(const Entries all_entries, IterationCounts* counts, int2* order) {
    extern __shared__ int32_t places[]; // [k]
    const auto problem = static_cast<int32_t>(blockIdx.x);
    const ProblemEntries entries(all_entries, problem);
    ChunkIds<kChunkBits> mine;
    int32_t invalid = 0;
    mine.load(entries.count, [&](int32_t i) {
        const int32_t found = entries.id(i);
        const int32_t id = as_index(found, all_entries.k);
        invalid += id != found;
        return id;
    });
    count_invalid(counts + problem, invalid);
    count_shared(mine, entries.count, all_entries.k, places);
    scan_shared(places, all_entries.k);
    order += int64_t{problem} * all_entries.n;
    mine.for_each(entries.count, [&](int32_t id, int index) {
        order[atomicAdd(places + id, 1)] = make_int2(entries.point(index), id);
    });
}

/// counts [batch x k] += those of a chunk.
template <int kBits>
__global__ void __launch_bounds__(kThreads)
        count_chunk_kernel(const Entries all_entries, int32_t* counts) {
    extern __shared__ int32_t shared[]; // [k]
    const ProblemEntries entries(all_entries, static_cast<int32_t>(blockIdx.y));
    const int32_t k = all_entries.k;
    const int32_t first = static_cast<int32_t>(blockIdx.x) << kBits;
    const int32_t count = min(1 << kBits, entries.count - first);
    if (count <= 0) {
        return;
    }
    counts += int64_t{blockIdx.y} * k;
    ChunkIds<kBits> mine;
    mine.load(count, [&](int32_t i) { return entries.id(first + i); });
    count_shared(mine, count, k, shared);
    for (auto c = static_cast<int32_t>(threadIdx.x); c < k; c += kThreads) {
        if (shared[c] > 0) {
            atomicAdd(counts + c, shared[c]);
        }
    }
}

/// places [batch x k]: where clusters begin. Every block adds up all counts before its own, which
/// costs less than to wait for one another.
__global__ void __launch_bounds__(kThreads)
        scan_kernel(const int32_t* counts, int32_t k, int32_t* places) {
    using Scan = cub::BlockScan<int32_t, kThreads, cub::BLOCK_SCAN_WARP_SCANS>;
    __shared__ typename Scan::TempStorage storage;
    counts += int64_t{blockIdx.y} * k;
    places += int64_t{blockIdx.y} * k;
    const int32_t first = static_cast<int32_t>(blockIdx.x) * kThreads * kScanItems;
    int32_t mine = 0;
#pragma unroll 8
    for (auto c = static_cast<int32_t>(threadIdx.x); c < first; c += kThreads) {
        mine += counts[c];
    }
    int32_t before;
    Scan(storage).ExclusiveSum(mine, mine, before);
    __syncthreads();
    int32_t items[kScanItems];
    const int32_t at = first + kScanItems * static_cast<int32_t>(threadIdx.x);
#pragma unroll
    for (int i = 0; i < kScanItems; i++) {
        items[i] = at + i < k ? counts[at + i] : 0;
    }
    Scan(storage).ExclusiveSum(items, items);
#pragma unroll
    for (int i = 0; i < kScanItems; i++) {
        if (at + i < k) {
            places[at + i] = before + items[i];
        }
    }
}

template <int kBits>
__global__ void __launch_bounds__(kThreads, kBits == kChunkBits ? 2 : 1)
        place_chunk_kernel(const Entries all_entries, int32_t* places, int2* order) {
    extern __shared__ int32_t shared[];
    const int32_t k = all_entries.k;
    int32_t* next = shared;           // [k] place in the chunk's own order
    int32_t* shift = shared + k;      // [k] from there to the place in the whole
    int32_t* sorted = shared + 2 * k; // an entry's number in the chunk below its cluster's
    const ProblemEntries entries(all_entries, static_cast<int32_t>(blockIdx.y));
    const int32_t first = static_cast<int32_t>(blockIdx.x) << kBits;
    const int32_t count = min(1 << kBits, entries.count - first);
    if (count <= 0) {
        return;
    }
    places += int64_t{blockIdx.y} * k;
    order += int64_t{blockIdx.y} * all_entries.n;
    ChunkIds<kBits> mine;
    mine.load(count, [&](int32_t i) { return entries.id(first + i); });
    count_shared(mine, count, k, next);
#pragma unroll 4
    for (auto c = static_cast<int32_t>(threadIdx.x); c < k; c += kThreads) {
        shift[c] = next[c] > 0 ? atomicAdd(places + c, next[c]) : 0;
    }
    __syncthreads();
    scan_shared(next, k);
    for (auto c = static_cast<int32_t>(threadIdx.x); c < k; c += kThreads) {
        shift[c] -= next[c];
    }
    __syncthreads();
    mine.for_each(count, [&](int32_t id, int index) {
        sorted[atomicAdd(next + id, 1)] = id << kBits | index;
    });
    __syncthreads();
#pragma unroll 8
    for (auto i = static_cast<int32_t>(threadIdx.x); i < count; i += kThreads) {
        const int32_t id = sorted[i] >> kBits;
        order[i + shift[id]] = make_int2(entries.point(first + sorted[i] % (1 << kBits)), id);
    }
}

/// Where clusters are many.
__global__ void count_kernel(const Entries all_entries, int32_t* counts) {
    const ProblemEntries entries(all_entries, static_cast<int32_t>(blockIdx.y));
    const auto i = static_cast<int32_t>(blockIdx.x * kThreads + threadIdx.x);
    if (i < entries.count) {
        atomicAdd(counts + int64_t{blockIdx.y} * all_entries.k + entries.id(i), 1);
    }
}

__global__ void place_kernel(const Entries all_entries, int32_t* places, int2* order) {
    const ProblemEntries entries(all_entries, static_cast<int32_t>(blockIdx.y));
    const auto i = static_cast<int32_t>(blockIdx.x * kThreads + threadIdx.x);
    if (i < entries.count) {
        const int32_t id = entries.id(i);
        const int32_t place = atomicAdd(places + int64_t{blockIdx.y} * all_entries.k + id, 1);
        order[int64_t{blockIdx.y} * all_entries.n + place] = make_int2(entries.point(i), id);
    }
}

} // namespace

EntryOrder::EntryOrder(int64_t batch, int64_t n, int64_t k, Arena& arena)
    : batch_(batch), n_(n), k_(k), order_(arena.take<int2>(batch * n)) {
    if (!is_short(n, k)) {
        counts_ = arena.take<int32_t>(batch * k);
        places_ = arena.take<int32_t>(batch * k);
    }
}

bool EntryOrder::is_short(int64_t n, int64_t k) {
    return n <= 1 << kChunkBits && k <= kMostSharedClusters;
}

void EntryOrder::run(const Entries& entries, IterationCounts* counts, cudaStream_t stream) {
    const auto k = static_cast<int32_t>(k_);
    const auto batch = static_cast<unsigned>(batch_);
    const auto counts_bytes = static_cast<size_t>(k) * sizeof(int32_t);
    if (is_short(n_, k_)) {
        block_sort_kernel<<<batch, kThreads, counts_bytes, stream>>>(entries, counts, order_);
        check_launch("sorting the points by cluster");
        return;
    }
    check(cudaMemsetAsync(counts_, 0, batch * counts_bytes, stream), "clearing the counts");
    const dim3 scans(blocks_of(k, kThreads * kScanItems), batch);
    const auto by_chunks = [&](auto count_chunks, auto place_chunks, int bits) {
        const dim3 grid(blocks_of(n_, int64_t{1} << bits), batch);
        const size_t bytes = chunk_bytes(k, bits);
        allow_all_shared_memory(reinterpret_cast<const void*>(place_chunks));
        count_chunks<<<grid, kThreads, counts_bytes, stream>>>(entries, counts_);
        scan_kernel<<<scans, kThreads, 0, stream>>>(counts_, k, places_);
        place_chunks<<<grid, kThreads, bytes, stream>>>(entries, places_, order_);
    };
    if (n_ >= kLarge && fits_shared(k, kLargeChunkBits)) {
        by_chunks(
                count_chunk_kernel<kLargeChunkBits>,
                place_chunk_kernel<kLargeChunkBits>,
                kLargeChunkBits);
    } else if (fits_shared(k, kChunkBits)) {
        by_chunks(count_chunk_kernel<kChunkBits>, place_chunk_kernel<kChunkBits>, kChunkBits);
    } else {
        const dim3 grid(blocks_of(n_, kThreads), batch);
        count_kernel<<<grid, kThreads, 0, stream>>>(entries, counts_);
        scan_kernel<<<scans, kThreads, 0, stream>>>(counts_, k, places_);
        place_kernel<<<grid, kThreads, 0, stream>>>(entries, places_, order_);
    }
    check_launch("sorting the points by cluster");
}

} // namespace faiss_flash::cuda
