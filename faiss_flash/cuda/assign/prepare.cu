/// Rounds centroids to the points' type and computes their biases: one warp a centroid, one pass
/// over K d 4 bytes, K d 2 written.
#include <faiss_flash/cuda/assign/assign.h>
#include <faiss_flash/cuda/assign/tile_config.h>
#include <faiss_flash/cuda/runtime/check.h>
#include <faiss_flash/cuda/assign/sm90/folded_bias.cuh>

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <limits>
#include <string>

namespace faiss_flash::cuda {

namespace {

constexpr int kLargestTile = StreamedTile<1>::kCentroids; // what K is padded to

template <class Element>
__global__ void prepare_kernel(
        const float* centroids,
        uint16_t* rows,
        float* bias,
        uint8_t* folded,
        int folded_steps,
        float* reach,
        int64_t k,
        int64_t padded_k,
        int d,
        int row_elements,
        bool l2) {
    const int lane = static_cast<int>(threadIdx.x) % 32;
    const int64_t row = (int64_t{blockIdx.x} * blockDim.x + threadIdx.x) / 32;
    const int64_t batch = blockIdx.y;
    if (row >= padded_k) {
        return;
    }
    double norm = 0;
    if (row < k) {
        const float* from = centroids + (batch * k + row) * d;
        auto* to = reinterpret_cast<Element*>(rows) + (batch * k + row) * row_elements;
        for (int j = lane; j < row_elements; j += 32) {
            const Element value = static_cast<Element>(j < d ? from[j] : 0.0f);
            to[j] = value;
            const double exact = static_cast<float>(value);
            norm += exact * exact;
        }
    }
    for (int distance = 16; distance; distance /= 2) {
        norm += __shfl_xor_sync(~0u, norm, distance);
    }
    const float value = row < k ? (l2 ? static_cast<float>(-0.5 * norm) : 0.0f) : -INFINITY;
    if (lane == 0) {
        bias[batch * padded_k + row] = value;
    }
    if (folded) {
        const int64_t tile = (batch * padded_k + row) / kFoldedRows;
        uint8_t* to = folded + tile * folded_tile_bytes(folded_steps);
        const int tile_row = static_cast<int>(row % kFoldedRows);
        for (int j = lane; j < 16 * folded_steps; j += 32) {
            const float x = row < k && j < d ? centroids[(batch * k + row) * d + j] : 0.0f;
            reinterpret_cast<Element*>(to + folded_offset(tile_row, j / 8))[j % 8] =
                    static_cast<Element>(x);
        }
        if (lane < kBiasChunks) {
            const int chunk = 2 * folded_steps + lane;
            *reinterpret_cast<float4*>(to + folded_offset(tile_row, chunk)) =
                    lane == 0 ? folded_bias(-value) : float4{};
        }
        if (lane == 0) {
            // Lengths are >= 0 and order as their bits do: the maximum does not depend on the
            // order.
            const float length = static_cast<float>(sqrt(norm));
            atomicMax(reinterpret_cast<int*>(reach + batch), __float_as_int(length));
        }
    }
}

void require_range(const char* name, int64_t value, int64_t lowest, int64_t highest) {
    if (value < lowest || value > highest) {
        throw InvalidArgument(
                std::string(name) + "=" + std::to_string(value) + " must be " +
                std::to_string(lowest) + " to " + std::to_string(highest));
    }
}

} // namespace

CentroidTable prepare_centroids(
        const float* centroids,
        int64_t batch,
        int64_t k,
        int64_t d,
        bool bf16,
        Metric metric,
        cudaStream_t stream) {
    constexpr int64_t kMaxInt = std::numeric_limits<int32_t>::max();
    constexpr int64_t kMaxGridRows = 65535;
    require_range("batch", batch, 1, kMaxGridRows);
    require_range("k", k, 1, kMaxInt - kLargestTile);
    require_range("d", d, 1, int64_t{1} << 24);
    CentroidTable table;
    table.batch = batch;
    table.k = k;
    table.d = d;
    table.bf16 = bf16;
    table.metric = metric;
    table.row_elements = (d + 7) / 8 * 8;
    table.padded_k = (k + kLargestTile - 1) / kLargestTile * kLargestTile;
    const auto padded = static_cast<size_t>(batch * table.padded_k);
    table.rows = Buffer<uint16_t>(static_cast<size_t>(batch * k * table.row_elements), stream);
    table.bias = Buffer<float>(padded, stream);
    int folded_steps = 0;
    if (d <= kMostFoldedColumns) {
        folded_steps = static_cast<int>((d + 15) / 16);
        const size_t tiles = padded / kFoldedRows;
        table.folded = Buffer<uint8_t>(
                tiles * static_cast<size_t>(folded_tile_bytes(folded_steps)), stream);
        table.reach = Buffer<float>(static_cast<size_t>(batch), stream);
        check(cudaMemsetAsync(table.reach.get(), 0, static_cast<size_t>(batch) * 4, stream),
              "clearing the reach");
    }
    constexpr int kWarps = 4;
    const dim3 grid(static_cast<unsigned>(table.padded_k / kWarps), static_cast<unsigned>(batch));
    const auto kernel = bf16 ? prepare_kernel<__nv_bfloat16> : prepare_kernel<__half>;
    kernel<<<grid, 32 * kWarps, 0, stream>>>(
            centroids,
            table.rows.get(),
            table.bias.get(),
            table.folded.get(),
            folded_steps,
            table.reach.get(),
            k,
            table.padded_k,
            static_cast<int>(d),
            static_cast<int>(table.row_elements),
            metric == Metric::l2);
    check_launch("preparing centroids");
    return table;
}

} // namespace faiss_flash::cuda
