// Compiled without contraction: sums in float64 have the CPU backend's bits.
//
// Budget: n K d multiply-adds of the CUDA cores, and as many cycles of shared memory: a 16-byte
// read of a centroid serves two points. The points once, the centroids once a block.
//
// 1. Some lanes share a row out: 32 columns each, of two points, in registers. The block brings
//    centroids into shared memory as the scores want them: c' with the points' scale, and b.
// 2. Lanes go over them in groups of 16, and each comes by the whole scores of some of a group's.
//    It keeps its three highest scores, and whose the first two are; at the end lanes compare.
// 3. Where the second comes within the margin of the first, eight lanes measure the two in float64.
// 4. Where the third does, too, a warp finds all of the row's scores anew, and measures all that
//    come within the margin.
#include <faiss_flash/cuda/runtime/check.h>
#include <faiss_flash/cuda/direct/arguments.cuh>
#include <faiss_flash/cuda/elements.cuh>
#include <faiss_flash/cuda/exact/measured.cuh>
#include <faiss_flash/cuda/row_part.cuh>
#include <faiss_flash/cuda/scaling.cuh>

#include <algorithm>
#include <cfloat>

namespace faiss_flash::cuda {

namespace {

constexpr int kThreads = 64; // few: small problems have blocks for all processors
constexpr int kPoints = 2;
constexpr int kParts = 8; // of four columns, of a lane

/// A row's best centroids, as far as a lane has seen.
struct Leaders {
    float best = -INFINITY;
    float second = -INFINITY;
    float third = -INFINITY;
    int32_t id = 0;
    int32_t second_id = 0;

    __device__ void take(float score, int32_t other) {
        const bool first = score > best;
        const bool among = score > second;
        third = fmaxf(third, fminf(second, score));
        second_id = first ? id : among ? other : second_id;
        second = first ? best : fmaxf(second, score);
        id = first ? other : id;
        best = fmaxf(best, score);
    }
    /// What another lane has seen of other centroids.
    __device__ void join(int mask) {
        const float other_best = __shfl_xor_sync(~0u, best, mask);
        const float other_second = __shfl_xor_sync(~0u, second, mask);
        const float other_third = __shfl_xor_sync(~0u, third, mask);
        const int32_t other_id = __shfl_xor_sync(~0u, id, mask);
        const int32_t other_second_id = __shfl_xor_sync(~0u, second_id, mask);
        take(other_best, other_id);
        take(other_second, other_second_id);
        third = fmaxf(third, other_third);
    }
};

/// Four columns as the scores want them, zeros from column d on.
__device__ float4
scaled_columns(const float* row, const float* mean, int column, int d, bool vectors, float scale) {
    float4 x{};
    float4 m{};
    if (vectors && column < d) {
        x = *reinterpret_cast<const float4*>(row + column);
        m = *reinterpret_cast<const float4*>(mean + column);
    } else {
        float* values[] = {&x.x, &x.y, &x.z, &x.w};
        float* means[] = {&m.x, &m.y, &m.z, &m.w};
#pragma unroll
        for (int v = 0; v < 4; v++) {
            *values[v] = column + v < d ? row[column + v] : 0.0f;
            *means[v] = column + v < d ? mean[column + v] : 0.0f;
        }
    }
    return {(x.x - m.x) * scale, (x.y - m.y) * scale, (x.z - m.z) * scale, (x.w - m.w) * scale};
}

/// A lane's columns of a row: every kLanes-th four.
template <int kRowLanes, class Element>
__device__ __forceinline__ void load_row(
        const DirectArguments& arguments,
        int64_t problem,
        int64_t row,
        int lane,
        bool vectors,
        float (&x)[4 * kParts]) {
    const int d = arguments.d;
    const auto* from = reinterpret_cast<const uint8_t*>(
            point_of<Element>(arguments, problem * arguments.n + row));
    const float* mean = arguments.mean + problem * d;
    const float scale = arguments.point_scale[problem];
    RowPart<Element, 4, true> parts[kParts];
#pragma unroll
    for (int i = 0; i < kParts; i++) {
        const int column = 4 * (i * kRowLanes + lane);
        if (vectors && column < d) {
            parts[i].load(from, column, d);
        } else {
            RowPart<Element, 4, false> singles;
            singles.load(from, column, d);
#pragma unroll
            for (int v = 0; v < 4; v++) {
                parts[i].values[v] = singles.values[v];
            }
        }
    }
#pragma unroll
    for (int i = 0; i < kParts; i++) {
#pragma unroll
        for (int v = 0; v < 4; v++) {
            const int column = 4 * (i * kRowLanes + lane) + v;
            x[4 * i + v] = column < d ? (parts[i].value(v) - mean[column]) * scale : 0.0f;
        }
    }
}

/// Lanes' parts of a group's scores become whole scores, of which each lane has its share: those of
/// the centroids from lane * kDirectGroup / kRowLanes on.
template <int kMask, int kCount = kDirectGroup>
__device__ void bring_together(float (&parts)[kDirectGroup], int lane) {
    if constexpr (kMask > 0) {
        const bool upper = lane & kMask;
        constexpr int kHalf = kCount / 2;
#pragma unroll
        for (int i = 0; i < kHalf; i++) {
            const float given = upper ? parts[i] : parts[i + kHalf];
            const float kept = upper ? parts[i + kHalf] : parts[i];
            parts[i] = kept + __shfl_xor_sync(~0u, given, kMask);
        }
        bring_together<kMask / 2, kHalf>(parts, lane);
    }
}

/// The bit that eight lanes of a warp take of the next four; the first where there are fewer.
__device__ int own_bit(unsigned bits) {
    unsigned rest = bits;
#pragma unroll
    for (int i = 1; i < 32 / kLanes; i++) {
        rest = i <= static_cast<int>(threadIdx.x % 32) / kLanes ? rest & (rest - 1) : rest;
    }
    return __ffs(static_cast<int>(rest ? rest : bits)) - 1;
}

__device__ unsigned without_four(unsigned bits) {
#pragma unroll
    for (int i = 0; i < 32 / kLanes; i++) {
        bits &= bits - 1;
    }
    return bits;
}

/// The best of two in float64, by eight lanes.
__device__ __noinline__ int32_t decide_pair(
        const DirectArguments& arguments, int64_t problem, int64_t row, int32_t id, int32_t other) {
    const int d = arguments.d;
    const float* centroids = arguments.centroids + problem * arguments.k * d;
    double values[2] = {};
    with_element(arguments.dtype, [&](auto element) {
        measure_all<2>(
                point_of<decltype(element)>(arguments, problem * arguments.n + row),
                {centroids + int64_t{id} * d, centroids + int64_t{other} * d},
                d,
                arguments.l2,
                values);
    });
    Best best;
    best.take(values[0], id, arguments.l2);
    best.take(values[1], other, arguments.l2);
    return best.id;
}

/// The best in float64 of the problem's centroids whose scores reach the bar, by a whole warp.
template <class Element>
__device__ __noinline__ int32_t
decide_row(const DirectArguments& arguments, int64_t problem, int64_t row, float bar) {
    const int d = arguments.d;
    const int32_t k = arguments.k;
    const auto lane = static_cast<int32_t>(threadIdx.x % 32);
    const Element* point = point_of<Element>(arguments, problem * arguments.n + row);
    const float* mean = arguments.mean + problem * d;
    const float scale = arguments.point_scale[problem];
    const float* centroids = arguments.centroids + problem * k * d;
    Best best;
    for (int32_t first = 0; first < k; first += 32) {
        const int32_t own = min(first + lane, k - 1);
        const float* centroid = centroids + int64_t{own} * d;
        float score = 0;
        float bias = 0;
#pragma unroll 8
        for (int j = 0; j < d; j++) {
            const float x = (static_cast<float>(point[j]) - mean[j]) * scale;
            const float c = (centroid[j] - mean[j]) * scale;
            score = __fmaf_rn(x, c, score);
            bias = arguments.l2 ? __fmaf_rn(-0.5f * c, c, bias)
                                : __fmaf_rn(mean[j] * scale, c, bias);
        }
        score += bias;
        // Written so that a NaN anywhere has the centroid measured.
        unsigned left = __ballot_sync(~0u, first + lane < k && !(score < bar));
        while (left) {
            const int bit = own_bit(left);
            double value[1];
            measure_all<1>(point, {centroids + int64_t{first + bit} * d}, d, arguments.l2, value);
            best.take(value[0], first + bit, arguments.l2);
            left = without_four(left);
        }
    }
    for (int mask = kLanes; mask < 32; mask *= 2) {
        const double value = __shfl_xor_sync(~0u, best.value, mask);
        const int32_t id = __shfl_xor_sync(~0u, best.id, mask);
        best.take(value, id, arguments.l2);
    }
    return best.id;
}

/// Brings the tile's centroids into shared memory. Lanes that share a row out share a centroid out.
/// A thread's share of the longest |c'|^2 and of the largest |b| is raised.
template <int kRowLanes>
__device__ void make_tile(
        const DirectArguments& arguments,
        int64_t problem,
        int32_t tile,
        int32_t count,
        bool vectors,
        float4* rows,
        float* biases,
        float& longest,
        float& largest_bias) {
    const int d = arguments.d;
    const auto lane = static_cast<int>(threadIdx.x) % kRowLanes;
    const float* mean = arguments.mean + problem * d;
    const float scale = arguments.point_scale[problem];
    for (int32_t c = static_cast<int32_t>(threadIdx.x) / kRowLanes; c < count;
         c += kThreads / kRowLanes) { // count is a multiple of a warp's groups
        const bool exists = tile + c < arguments.k;
        const float* row = arguments.centroids + (problem * arguments.k + tile + c) * d;
        float square = 0;
        float product = 0;
        float4 values[kParts];
#pragma unroll
        for (int i = 0; i < kParts; i++) {
            const int column = 4 * (i * kRowLanes + lane);
            values[i] = exists ? scaled_columns(row, mean, column, d, vectors, scale) : float4{};
        }
#pragma unroll
        for (int i = 0; i < kParts; i++) {
            const int column = 4 * (i * kRowLanes + lane);
            const float own[] = {values[i].x, values[i].y, values[i].z, values[i].w};
            rows[c * (kParts * kRowLanes) + i * kRowLanes + lane] = values[i];
#pragma unroll
            for (int v = 0; v < 4; v++) {
                square = __fmaf_rn(own[v], own[v], square);
                if (!arguments.l2 && column + v < d) {
                    product = __fmaf_rn(mean[column + v] * scale, own[v], product);
                }
            }
        }
#pragma unroll
        for (int mask = kRowLanes / 2; mask > 0; mask /= 2) {
            square += __shfl_xor_sync(~0u, square, mask);
            product += __shfl_xor_sync(~0u, product, mask);
        }
        const float bias = arguments.l2 ? -0.5f * square : product;
        if (lane == 0) {
            biases[c] = exists ? bias : -INFINITY;
        }
        longest = larger(longest, square);
        largest_bias = larger(largest_bias, fabsf(bias));
    }
}

/// The largest of a block's values >= 0, or a NaN where one is.
__device__ float block_max(float value) {
    __shared__ float of_warps[kThreads / 32];
    of_warps[threadIdx.x / 32] = warp_max(value);
    __syncthreads();
    float most = of_warps[0];
#pragma unroll
    for (int w = 1; w < kThreads / 32; w++) {
        most = larger(most, of_warps[w]);
    }
    __syncthreads();
    return most;
}

/// Blocks (i, problem).
template <int kRowLanes>
__global__ void __launch_bounds__(kThreads) long_rows_kernel(
        const __grid_constant__ DirectArguments arguments, bool point_vectors, bool vectors) {
    extern __shared__ float4 shared[];
    constexpr int kRowVectors = kParts * kRowLanes;
    constexpr int kGroups = kThreads / kRowLanes; // of lanes that share a row
    constexpr int kOwn = kDirectGroup / kRowLanes;
    const int32_t tile_centroids = min(kMostTile<4 * kRowVectors>, arguments.padded_k);
    auto* biases = reinterpret_cast<float*>(shared + tile_centroids * kRowVectors);
    const int64_t problem = blockIdx.y;
    const int d = arguments.d;
    const auto lane = static_cast<int>(threadIdx.x) % kRowLanes;
    const int64_t first_row =
            int64_t{blockIdx.x} * kGroups * kPoints + static_cast<int>(threadIdx.x) / kRowLanes;
    float x[kPoints][4 * kParts];
    Leaders leaders[kPoints];
#pragma unroll
    for (int p = 0; p < kPoints; p++) {
        const int64_t row = min(first_row + p * kGroups, arguments.n - 1);
        // Inlined, or x would not be in registers.
        with_element(
                arguments.dtype, [&](auto element) __attribute__((always_inline)) {
                    load_row<kRowLanes, decltype(element)>(
                            arguments, problem, row, lane, point_vectors, x[p]);
                });
    }
    float longest = 0;
    float largest_bias = 0;
    for (int32_t tile = 0; tile < arguments.padded_k; tile += tile_centroids) {
        const int32_t count = min(tile_centroids, arguments.padded_k - tile);
        __syncthreads(); // all have read the tile before
        make_tile<kRowLanes>(
                arguments, problem, tile, count, vectors, shared, biases, longest, largest_bias);
        __syncthreads();
        for (int32_t first = 0; first < count; first += kDirectGroup) {
            const float4* rows = shared + first * kRowVectors + lane;
            float parts[kPoints][kDirectGroup] = {};
#pragma unroll
            for (int i = 0; i < kParts; i++) {
#pragma unroll
                for (int c = 0; c < kDirectGroup; c++) {
                    const float4 row = rows[c * kRowVectors + i * kRowLanes];
#pragma unroll
                    for (int p = 0; p < kPoints; p++) {
                        float part = parts[p][c];
                        part = __fmaf_rn(x[p][4 * i], row.x, part);
                        part = __fmaf_rn(x[p][4 * i + 1], row.y, part);
                        part = __fmaf_rn(x[p][4 * i + 2], row.z, part);
                        parts[p][c] = __fmaf_rn(x[p][4 * i + 3], row.w, part);
                    }
                }
            }
#pragma unroll
            for (int p = 0; p < kPoints; p++) {
                bring_together<kRowLanes / 2>(parts[p], lane);
#pragma unroll
                for (int i = 0; i < kOwn; i++) {
                    const int own = first + lane * kOwn + i;
                    leaders[p].take(parts[p][i] + biases[own], tile + own);
                }
            }
        }
    }
    const float scale = arguments.point_scale[problem];
    const DirectBounds bounds{
            round_up(length_of(block_max(longest))), round_up(block_max(largest_bias)), scale};
    const Float64Error float64_error(d, arguments.l2, scale, scale, arguments.mean_length[problem]);
    int32_t* ids = arguments.ids + problem * arguments.n;
    int decided = 0;
#pragma unroll
    for (int p = 0; p < kPoints; p++) {
        const int64_t row = first_row + p * kGroups;
        float square = 0;
#pragma unroll
        for (int j = 0; j < 4 * kParts; j++) {
            square = __fmaf_rn(x[p][j], x[p][j], square);
        }
#pragma unroll
        for (int mask = kRowLanes / 2; mask > 0; mask /= 2) {
            leaders[p].join(mask);
            square += __shfl_xor_sync(~0u, square, mask);
        }
        const float margin = margin_of(length_of(square), bounds, d, float64_error);
        float bar = leaders[p].best - margin;
        const bool says_nothing = !(margin <= FLT_MAX) || !(fabsf(bar) <= FLT_MAX);
        bar = says_nothing ? -INFINITY : bar;
        const bool writes = lane == 0 && row < arguments.n;
        const bool many = writes && (says_nothing || leaders[p].third >= bar);
        const bool two = writes && !many && leaders[p].second >= bar;
        if (writes && !many && !two) {
            ids[row] = leaders[p].id;
        }
        for (unsigned left = __ballot_sync(~0u, two); left; left = without_four(left)) {
            const int from = own_bit(left);
            const int64_t open_row = __shfl_sync(~0u, row, from);
            const int32_t id = __shfl_sync(~0u, leaders[p].id, from);
            const int32_t other = __shfl_sync(~0u, leaders[p].second_id, from);
            const int32_t nearest = decide_pair(arguments, problem, open_row, id, other);
            if (threadIdx.x % kLanes == 0) { // some write the same
                ids[open_row] = nearest;
            }
        }
        for (unsigned left = __ballot_sync(~0u, many); left; left &= left - 1) {
            const int from = __ffs(static_cast<int>(left)) - 1;
            const int64_t open_row = __shfl_sync(~0u, row, from);
            const float open_bar = __shfl_sync(~0u, bar, from);
            int32_t nearest = -1;
            with_element(arguments.dtype, [&](auto element) {
                nearest = decide_row<decltype(element)>(arguments, problem, open_row, open_bar);
            });
            if (threadIdx.x % 32 == 0) {
                ids[open_row] = nearest;
            }
        }
        decided += many || two;
    }
    count_decided(arguments.counts + problem, decided);
}

template <int kRowLanes>
void launch(
        const DirectArguments& arguments, bool point_vectors, int64_t batch, cudaStream_t stream) {
    constexpr int kColumns = 4 * kParts * kRowLanes;
    constexpr int kRows = kThreads / kRowLanes * kPoints;
    const dim3 grid(blocks_of(arguments.n, kRows), static_cast<unsigned>(batch));
    const int32_t tile = std::min(kMostTile<kColumns>, arguments.padded_k);
    const auto bytes = static_cast<size_t>(tile * (kColumns + 1)) * sizeof(float);
    long_rows_kernel<kRowLanes>
            <<<grid, kThreads, bytes, stream>>>(arguments, point_vectors, arguments.d % 4 == 0);
}

} // namespace

void assign_long_rows(
        const DirectArguments& arguments, int64_t columns, int64_t batch, cudaStream_t stream) {
    const bool vectors = reads_vectors(arguments.dtype, arguments.d);
    switch (columns) {
        case 64:
            launch<2>(arguments, vectors, batch, stream);
            break;
        case 128:
            launch<4>(arguments, vectors, batch, stream);
            break;
        default:
            launch<8>(arguments, vectors, batch, stream);
    }
    check_launch("assigning long rows");
}

} // namespace faiss_flash::cuda
