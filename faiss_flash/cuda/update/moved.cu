// Budget: 12 bytes a point, 16 more for one that moved.
#include <faiss_flash/cuda/runtime/check.h>
#include <faiss_flash/cuda/update/moved.h>
#include <faiss_flash/cuda/update/invalid_ids.cuh>

namespace faiss_flash::cuda {

namespace {

constexpr int kThreads = 256;
constexpr int kWarps = kThreads / 32;
constexpr int kEach = 8; // points of a thread

/// Entries of neighbouring points lie side by side: a warp writes whole lines.
__global__ void __launch_bounds__(kThreads) moved_kernel(
        const int32_t* ids,
        int32_t* previous,
        const Entries entries,
        IterationCounts* counts,
        uint32_t* moved,
        int4* list) {
    __shared__ int32_t warp_moves[kWarps];
    __shared__ uint32_t shared_base;
    const int32_t n = entries.n;
    const uint32_t capacity = entries.capacity;
    ids += int64_t{blockIdx.y} * n;
    previous += int64_t{blockIdx.y} * n;
    list += int64_t{blockIdx.y} * (capacity / 2);
    const int warp = static_cast<int>(threadIdx.x) / 32;
    const uint32_t lower_lanes = (1u << threadIdx.x % 32) - 1;
    const auto first = static_cast<int32_t>(blockIdx.x * kThreads * kEach + threadIdx.x);
    int32_t id[kEach];
    int32_t old[kEach];
    int32_t moves = 0; // of the warp
    int32_t invalid = 0;
#pragma unroll
    for (int i = 0; i < kEach; i++) {
        const int32_t point = first + i * kThreads;
        const int32_t found = point < n ? ids[point] : 0;
        id[i] = as_index(found, entries.k);
        old[i] = point < n ? previous[point] : 0;
        invalid += id[i] != found;
    }
#pragma unroll
    for (int i = 0; i < kEach; i++) {
        moves += __popc(__ballot_sync(~0u, id[i] != old[i]));
    }
    count_invalid(counts + blockIdx.y, invalid);
    if (threadIdx.x % 32 == 0) {
        warp_moves[warp] = moves;
    }
    __syncthreads();
    int32_t before = 0;
    int32_t total = 0;
#pragma unroll
    for (int w = 0; w < kWarps; w++) {
        before += w < warp ? warp_moves[w] : 0;
        total += warp_moves[w];
    }
    if (threadIdx.x == 0 && total > 0) {
        shared_base = atomicAdd(moved + blockIdx.y, 2 * static_cast<uint32_t>(total));
    }
#pragma unroll
    for (int i = 0; i < kEach; i++) {
        if (id[i] != old[i]) {
            previous[first + i * kThreads] = id[i];
        }
    }
    __syncthreads();
    if (total == 0 || shared_base + 2 * static_cast<uint32_t>(total) > capacity) {
        return;
    }
    int4* to = list + shared_base / 2 + before;
#pragma unroll
    for (int i = 0; i < kEach; i++) {
        const uint32_t movers = __ballot_sync(~0u, id[i] != old[i]);
        if (id[i] != old[i]) {
            const int32_t point = first + i * kThreads;
            to[__popc(movers & lower_lanes)] =
                    make_int4(static_cast<int32_t>(point | Entries::kTaken), old[i], point, id[i]);
        }
        to += __popc(movers);
    }
}

} // namespace

MovedPoints::MovedPoints(int64_t batch, int64_t n, int64_t k, Arena& arena)
    : batch_(batch),
      n_(n),
      k_(k),
      capacity_(n / 4 * 2), // more entries do not save enough
      previous_(arena.take<int32_t>(batch * n)),
      moved_(arena.take<uint32_t>(batch)),
      list_(arena.take<int2>(batch * capacity_)) {}

void MovedPoints::forget(cudaStream_t stream) {
    const auto bytes = static_cast<size_t>(batch_ * n_) * sizeof(int32_t);
    check(cudaMemsetAsync(previous_, 0xFF, bytes, stream), "forgetting the clusters");
}

Entries MovedPoints::find(const int32_t* ids, IterationCounts* counts, cudaStream_t stream) {
    return compare(ids, n_, capacity_, counts, stream);
}

Entries MovedPoints::all(
        const int32_t* ids, int64_t n, IterationCounts* counts, cudaStream_t stream) {
    forget(stream);
    return compare(ids, n, 0, counts, stream);
}

Entries MovedPoints::compare(
        const int32_t* ids,
        int64_t n,
        int64_t capacity,
        IterationCounts* counts,
        cudaStream_t stream) {
    const auto batch = static_cast<unsigned>(batch_);
    check(cudaMemsetAsync(moved_, 0, batch * sizeof(uint32_t), stream), "clearing a count");
    const Entries entries{
            previous_, // as ids are after the kernel, but for invalid ones
            list_,
            moved_,
            static_cast<int32_t>(n),
            static_cast<int32_t>(k_),
            static_cast<uint32_t>(capacity)};
    const dim3 grid(blocks_of(n, kThreads * kEach), batch);
    moved_kernel<<<grid, kThreads, 0, stream>>>(
            ids, previous_, entries, counts, moved_, reinterpret_cast<int4*>(list_));
    check_launch("finding the points that moved");
    return entries;
}

} // namespace faiss_flash::cuda
