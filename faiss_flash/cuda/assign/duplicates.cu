/// Budget: nothing but one id a centroid where all differ; K d 4 bytes twice where none do.
#include <faiss_flash/cuda/assign/assign.h>
#include <faiss_flash/cuda/assign/duplicates.h>
#include <faiss_flash/cuda/runtime/check.h>
#include <faiss_flash/cuda/assign/duplicates.cuh>
#include <faiss_flash/cuda/assign/sm90/folded_bias.cuh>

namespace faiss_flash::cuda {

namespace {

constexpr int kThreads = 128;

/// One warp a centroid. Of others with its hash only one that equals it makes it a duplicate.
__global__ void drop_kernel(
        const float* centroids,
        const int32_t* lowest,
        const int32_t* places,
        int32_t k,
        int64_t d,
        float* bias,
        uint8_t* folded,
        int folded_steps) {
    const int lane = static_cast<int>(threadIdx.x) % 32;
    const auto row = static_cast<int32_t>((int64_t{blockIdx.x} * kThreads + threadIdx.x) / 32);
    if (row >= k) {
        return;
    }
    const int32_t first = lowest[places[row]];
    bool same = first != row;
    for (int64_t j = lane; same && j < d; j += 32) {
        same = value_bits(centroids[row * d + j]) == value_bits(centroids[first * d + j]);
    }
    if (!__all_sync(~0u, same) || lane != 0) {
        return;
    }
    bias[row] = -INFINITY;
    if (folded) {
        uint8_t* image = folded + int64_t{row / kFoldedRows} * folded_tile_bytes(folded_steps);
        *reinterpret_cast<float4*>(image + folded_offset(row % kFoldedRows, 2 * folded_steps)) =
                folded_bias(INFINITY);
    }
}

} // namespace

DuplicateTable::DuplicateTable(int64_t k, Arena& arena) : slots(2) {
    while (slots < 2 * k) {
        slots *= 2;
    }
    hashes = arena.take<unsigned long long>(slots);
    lowest = arena.take<int32_t>(slots);
    places = arena.take<int32_t>(k);
}

void DuplicateTable::clear(cudaStream_t stream) const {
    const auto count = static_cast<size_t>(slots);
    check(cudaMemsetAsync(hashes, 0, 8 * count, stream), "clearing hashes");
    check(cudaMemsetAsync(lowest, 0x7F, 4 * count, stream), "clearing ids");
}

void drop_duplicates(
        const float* centroids,
        const DuplicateTable& duplicates,
        TensorCentroids& table,
        cudaStream_t stream) {
    drop_kernel<<<blocks_of(32 * table.k, kThreads), kThreads, 0, stream>>>(
            centroids,
            duplicates.lowest,
            duplicates.places,
            static_cast<int32_t>(table.k),
            table.d,
            table.bias,
            table.folded,
            folded_steps_of(table.d));
    check_launch("dropping duplicates");
}

} // namespace faiss_flash::cuda
