/// Rounds centroids to the points' type and computes their biases: one warp a centroid, one pass
/// over K d 4 bytes, K d 2 written (and K (2 d + 32) again for d <= 32).
#include <faiss_flash/cuda/assign/assign.h>
#include <faiss_flash/cuda/assign/duplicates.h>
#include <faiss_flash/cuda/assign/tile_config.h>
#include <faiss_flash/cuda/runtime/check.h>
#include <faiss_flash/cuda/scaling.h>
#include <faiss_flash/cuda/assign/duplicates.cuh>
#include <faiss_flash/cuda/assign/sm90/folded_bias.cuh>
#include <faiss_flash/cuda/exact/bounds.cuh>
#include <faiss_flash/cuda/scaling.cuh>

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <limits>
#include <string>

namespace faiss_flash::cuda {

namespace {

constexpr int kLargestTile = StreamedTile::kCentroids; // what K is padded to
constexpr int kWarps = 16;                             // of a block

struct Arguments {
    const float* centroids;
    uint16_t* rows;
    float* bias;
    uint8_t* folded; ///< null = not wanted
    int folded_steps;
    float* reach;
    int64_t k, padded_k;
    int d, row_elements;
    bool l2;
    Centring centring;
    unsigned long long* hashes; ///< of a DuplicateTable, as are
    int32_t* lowest;
    int32_t* places;
    uint32_t slot_mask;
};

/// Coordinates beyond these, which no mean of points has, count as these: every score is finite,
/// and so every point finds a centroid. f16 ends there; of bf16, see
/// fast_holds() in assigner.h.
template <class Element>
inline constexpr float kMostRounded = 65504.0f;
template <>
inline constexpr float kMostRounded<__nv_bfloat16> = 0x1p52f;

template <class Element>
__device__ Element rounded_to(double value) {
    const float limited =
            fminf(fmaxf(static_cast<float>(value), -kMostRounded<Element>), kMostRounded<Element>);
    return static_cast<Element>(limited);
}

template <class Element>
__global__ void prepare_kernel(const Arguments arguments) {
    const int lane = static_cast<int>(threadIdx.x) % 32;
    const int64_t row = (int64_t{blockIdx.x} * blockDim.x + threadIdx.x) / 32;
    const int64_t batch = blockIdx.y;
    __shared__ CentroidBounds block_bounds; // one atomic a block: many at one place take long
    __shared__ float block_reach;
    if (threadIdx.x == 0) {
        block_bounds = {};
        block_reach = 0;
    }
    __syncthreads();
    const bool exists = row < arguments.k;
    const float* from = arguments.centroids + (batch * arguments.k + row) * arguments.d;
    const Centring& centring = arguments.centring;
    const double scale = centring.mean ? scale_of(centring.bounds->largest) : 1.0;
    const auto exact_at = [&](int j) -> double {
        if (!exists || j >= arguments.d) {
            return 0;
        }
        return centring.mean ? (double{from[j]} - double{centring.mean[j]}) * scale : from[j];
    };

    double exact_square = 0;
    double square = 0;
    double residual_square = 0;
    double along_mean = 0;
    unsigned long long hash = 0;
    auto* to = reinterpret_cast<Element*>(arguments.rows) +
               (batch * arguments.k + row) * arguments.row_elements;
#pragma unroll 4
    for (int j = lane; exists && j < arguments.row_elements; j += 32) {
        const double exact = exact_at(j);
        const Element value = rounded_to<Element>(exact);
        to[j] = value;
        const double rounded = static_cast<float>(value);
        exact_square += exact * exact;
        square += rounded * rounded;
        residual_square += (exact - rounded) * (exact - rounded);
        if (centring.mean && j < arguments.d) {
            along_mean += exact * double{centring.mean[j]};
            hash += hash_of(from[j], j);
        }
    }
    square = warp_sum(square);
    double bias = 0;
    if (centring.mean) {
        exact_square = warp_sum(exact_square);
        residual_square = warp_sum(residual_square);
        hash = warp_sum(hash);
        const double point_scale = *centring.point_scale;
        bias = arguments.l2 ? -0.5 * exact_square * point_scale / scale
                            : warp_sum(along_mean) * point_scale;
        if (lane == 0 && exists) {
            constexpr double kUp = 1 + 0x1p-20;
            atomic_max(&block_bounds.length, static_cast<float>(sqrt(exact_square) * kUp));
            atomic_max(&block_bounds.residual, static_cast<float>(sqrt(residual_square) * kUp));
            atomic_max(&block_bounds.bias, static_cast<float>(fabs(bias) * kUp));
            centring.bias[row] = static_cast<float>(bias);
            centring.errors[row] = 0;
            arguments.places[row] = insert_hash(
                    hash,
                    static_cast<int32_t>(row),
                    arguments.hashes,
                    arguments.lowest,
                    arguments.slot_mask);
        }
        if (!arguments.folded) {
            const double error = score_error(
                    centring.reference,
                    arguments.d,
                    sqrt(exact_square),
                    sqrt(residual_square),
                    sqrt(square),
                    fabs(bias));
            bias += error;
            if (lane == 0 && exists) {
                centring.errors[row] = round_up(error);
            }
        }
    } else if (arguments.l2) {
        bias = -0.5 * square;
    }
    const float value = exists ? static_cast<float>(bias) : -INFINITY;
    if (lane == 0) {
        arguments.bias[batch * arguments.padded_k + row] = value;
        atomic_max(&block_reach, static_cast<float>(sqrt(square)));
    }
    __syncthreads();
    if (threadIdx.x == 0) {
        if (centring.mean) {
            atomic_max(&centring.bounds->length, block_bounds.length);
            atomic_max(&centring.bounds->residual, block_bounds.residual);
            atomic_max(&centring.bounds->bias, block_bounds.bias);
        }
        if (arguments.folded) {
            atomic_max(arguments.reach + batch, block_reach);
        }
    }
    if (!arguments.folded) {
        return;
    }
    const int64_t tile = (batch * arguments.padded_k + row) / kFoldedRows;
    uint8_t* image = arguments.folded + tile * folded_tile_bytes(arguments.folded_steps);
    const int tile_row = static_cast<int>(row % kFoldedRows);
    if (lane < 16 * arguments.folded_steps) {
        reinterpret_cast<Element*>(image + folded_offset(tile_row, lane / 8))[lane % 8] =
                rounded_to<Element>(exact_at(lane));
    }
    if (lane < kBiasChunks) {
        const int chunk = 2 * arguments.folded_steps + lane;
        *reinterpret_cast<float4*>(image + folded_offset(tile_row, chunk)) =
                lane == 0 ? folded_bias(-value) : float4{};
    }
}

void require_range(const char* name, int64_t value, int64_t lowest, int64_t highest) {
    if (value < lowest || value > highest) {
        throw InvalidArgument(
                std::string(name) + "=" + std::to_string(value) + " must be " +
                std::to_string(lowest) + " to " + std::to_string(highest));
    }
}

void prepare(
        const float* centroids,
        const Centring& centring,
        const DuplicateTable* duplicates,
        TensorCentroids& table,
        cudaStream_t stream) {
    // Only equal scales make a score of L2 at most half a square.
    table.half_square = table.metric == Metric::l2 && !centring.mean;
    Arguments arguments;
    arguments.centroids = centroids;
    arguments.rows = table.rows;
    arguments.bias = table.bias;
    arguments.folded = table.folded;
    arguments.folded_steps = folded_steps_of(table.d);
    arguments.reach = table.reach;
    arguments.k = table.k;
    arguments.padded_k = table.padded_k;
    arguments.d = static_cast<int>(table.d);
    arguments.row_elements = static_cast<int>(table.row_elements);
    arguments.l2 = table.metric == Metric::l2;
    arguments.centring = centring;
    if (duplicates) {
        arguments.hashes = duplicates->hashes;
        arguments.lowest = duplicates->lowest;
        arguments.places = duplicates->places;
        arguments.slot_mask = static_cast<uint32_t>(duplicates->slots - 1);
    }
    if (table.folds) {
        check(cudaMemsetAsync(table.reach, 0, static_cast<size_t>(table.batch) * 4, stream),
              "clearing the reach");
    }
    const dim3 grid(
            static_cast<unsigned>(table.padded_k / kWarps), static_cast<unsigned>(table.batch));
    const auto kernel = table.bf16 ? prepare_kernel<__nv_bfloat16> : prepare_kernel<__half>;
    kernel<<<grid, 32 * kWarps, 0, stream>>>(arguments);
    check_launch("preparing centroids");
}

} // namespace

TensorCentroids::TensorCentroids(
        int64_t batch, int64_t k, int64_t d, bool bf16, Metric metric, Arena& arena, bool may_fold)
    : batch(batch),
      k(k),
      d(d),
      bf16(bf16),
      metric(metric),
      folds(may_fold && d <= kMostFoldedColumns) {
    constexpr int64_t kMaxInt = std::numeric_limits<int32_t>::max();
    constexpr int64_t kMaxGridRows = 65535;
    require_range("batch", batch, 1, kMaxGridRows);
    require_range("k", k, 1, kMaxInt - kLargestTile);
    require_range("d", d, 1, int64_t{1} << 24);
    row_elements = padded_columns(d);
    padded_k = (k + kLargestTile - 1) / kLargestTile * kLargestTile;
    rows = arena.take<uint16_t>(batch * k * row_elements);
    bias = arena.take<float>(batch * padded_k);
    if (folds) {
        const int64_t tiles = batch * padded_k / kFoldedRows;
        folded = arena.take<uint8_t>(tiles * folded_tile_bytes(folded_steps_of(d)));
        reach = arena.take<float>(batch);
    }
}

void prepare_centroids(const float* centroids, TensorCentroids& table, cudaStream_t stream) {
    prepare(centroids, {}, nullptr, table, stream);
}

void prepare_centred(
        const float* centroids,
        const Centring& centring,
        const DuplicateTable& duplicates,
        TensorCentroids& table,
        cudaStream_t stream) {
    check(cudaMemsetAsync(centring.bounds, 0, sizeof(CentroidBounds), stream), "clearing bounds");
    find_largest(centroids, centring.mean, 1, table.k, table.d, &centring.bounds->largest, stream);
    duplicates.clear(stream);
    prepare(centroids, centring, &duplicates, table, stream);
    drop_duplicates(centroids, duplicates, table, stream);
}

} // namespace faiss_flash::cuda
