// Compiled without contraction: sums in float64 have the CPU backend's bits.
//
// Budget: n K d multiply-adds of the CUDA cores, and twice as many cycles of shared memory: a
// thread reads 4 x 4 columns of points and of centroids for 64 of them. The points once, the
// centroids once a block.
//
// 1. A block brings 32 points, then tiles of 64 centroids into shared memory as the scores want
//    them: x', c' with the points' scale, and b.
// 2. A thread finds the scores of four points and four centroids of a tile, and keeps each point's
//    three highest, and whose the first two are; at the end the lanes of a point compare.
// 3. Where the second comes within the margin of the first, eight lanes measure the two in float64.
// 4. Where the third does, too, a warp finds all of the row's scores anew, and measures all that
//    come within the margin.
#include <faiss_flash/cuda/runtime/check.h>
#include <faiss_flash/cuda/runtime/shared_memory.h>
#include <faiss_flash/cuda/direct/leaders.cuh>
#include <faiss_flash/cuda/elements.cuh>
#include <faiss_flash/cuda/row_part.cuh>
#include <faiss_flash/cuda/scaling.cuh>

namespace faiss_flash::cuda {

namespace {

constexpr int kThreads = 128;
constexpr int kEach = 4;     // points of a thread, and centroids of a tile
constexpr int kSharers = 16; // lanes of the same points
constexpr int kRows = kThreads / kSharers * kEach;
constexpr int kTile = kSharers * kEach; // centroids
constexpr int kFour = 4;                // columns that are read at a time

/// Rows in shared memory, columns in fours; the pitch is odd: neighbouring rows lie in other
/// banks.
struct SharedRows {
    float4* fours;
    int pitch; ///< fours of a row

    __device__ float4& at(int row, int four) const { return fours[row * pitch + four]; }
};

__host__ __device__ int fours_of(int d) {
    return (d + kFour - 1) / kFour;
}

size_t shared_bytes(int d) {
    const auto pitch = static_cast<size_t>(fours_of(d) | 1);
    return (kRows + kTile) * pitch * sizeof(float4) + kTile * sizeof(float);
}

/// Brings `existing` rows to shared memory, less the mean and scaled, and zeros from there up to
/// `count` rows and from column d on.
template <class Element>
__device__ void load_rows(
        const uint8_t* from,
        int64_t row_bytes,
        bool vectors,
        const float* mean,
        float scale,
        int d,
        int count,
        int existing,
        const SharedRows& to) {
    const int fours = fours_of(d);
    const int warp = static_cast<int>(threadIdx.x) / 32;
    constexpr int kWarps = kThreads / 32; // each takes rows, a lane the same columns of all
    constexpr int kTogether = 8;          // on their way
    for (int four = static_cast<int>(threadIdx.x) % 32; four < fours; four += 32) {
        const int column = four * kFour;
        RowPart<float, kFour, false> means;
        means.load(reinterpret_cast<const uint8_t*>(mean), column, d);
        for (int first = warp; first < count; first += kTogether * kWarps) {
            RowPart<Element, kFour, true> parts[kTogether];
#pragma unroll
            for (int t = 0; t < kTogether; t++) {
                const uint8_t* row = from + min(first + t * kWarps, existing - 1) * row_bytes;
                if (vectors) {
                    parts[t].load(row, column, d);
                } else {
                    RowPart<Element, kFour, false> singles;
                    singles.load(row, column, d);
#pragma unroll
                    for (int v = 0; v < kFour; v++) {
                        parts[t].values[v] = singles.values[v];
                    }
                }
            }
#pragma unroll
            for (int t = 0; t < kTogether; t++) {
                const int row = first + t * kWarps;
                float values[kFour];
#pragma unroll
                for (int v = 0; v < kFour; v++) { // beyond column d both are zeros
                    values[v] = (parts[t].value(v) - means.values[v]) * scale;
                }
                if (row < count) {
                    to.at(row, four) = row < existing
                                               ? float4{values[0], values[1], values[2], values[3]}
                                               : float4{};
                }
            }
        }
    }
}

/// Of a shared row by two or more neighbouring lanes, which all have the sum in the end.
template <int kLanesOfRow, class Term>
__device__ float sum_of_row(const SharedRows& rows, int row, int fours, const Term& term) {
    float sum = 0;
#pragma unroll 4
    for (int four = static_cast<int>(threadIdx.x) % kLanesOfRow; four < fours;
         four += kLanesOfRow) {
        const float4 x = rows.at(row, four);
        sum += term(x.x, four * kFour) + term(x.y, four * kFour + 1);
        sum += term(x.z, four * kFour + 2) + term(x.w, four * kFour + 3);
    }
#pragma unroll
    for (int mask = kLanesOfRow / 2; mask > 0; mask /= 2) {
        sum += __shfl_xor_sync(~0u, sum, mask);
    }
    return sum;
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

/// Blocks (i, problem): kRows points.
__global__ void __launch_bounds__(kThreads)
        long_rows_kernel(const __grid_constant__ DirectArguments arguments, bool point_vectors) {
    extern __shared__ float4 shared[];
    __shared__ float squares[kRows]; // |x'|^2
    const int d = arguments.d;
    const int fours = fours_of(d);
    const SharedRows points{shared, fours | 1};
    const SharedRows centroids{shared + kRows * points.pitch, fours | 1};
    auto* biases = reinterpret_cast<float*>(centroids.fours + kTile * centroids.pitch);
    const int64_t problem = blockIdx.y;
    const int64_t first_row = int64_t{blockIdx.x} * kRows;
    const auto thread = static_cast<int>(threadIdx.x);
    const int sharer = thread % kSharers;
    const int group = thread / kSharers;
    const float* mean = arguments.mean + problem * d;
    const float scale = arguments.point_scale[problem];
    const Float64Error float64_error(d, arguments.l2, scale, scale, arguments.mean_length[problem]);
    const auto existing = static_cast<int>(min(int64_t{kRows}, arguments.n - first_row));
    with_element(arguments.dtype, [&](auto element) {
        const auto* from = reinterpret_cast<const uint8_t*>(
                point_of<decltype(element)>(arguments, problem * arguments.n + first_row));
        load_rows<decltype(element)>(
                from, arguments.row_bytes, point_vectors, mean, scale, d, kRows, existing, points);
    });
    const auto square = [](float x, int /*column*/) { return x * x; };
    Leaders leaders[kEach];
    float longest = 0; // |c'|^2
    float largest_bias = 0;
    for (int32_t tile = 0; tile < arguments.padded_k; tile += kTile) {
        const int count = min(kTile, arguments.padded_k - tile);
        const float* from = arguments.centroids + (problem * arguments.k + tile) * d;
        load_rows<float>(
                reinterpret_cast<const uint8_t*>(from),
                d * int64_t{sizeof(float)},
                d % kFour == 0,
                mean,
                scale,
                d,
                count,
                min(count, arguments.k - tile),
                centroids);
        __syncthreads();
        {
            constexpr int kLanesOfRow = kThreads / kTile;
            const int c = thread / kLanesOfRow;
            const bool exists = tile + c < arguments.k;
            const int row = min(c, count - 1);
            const float length = sum_of_row<kLanesOfRow>(centroids, row, fours, square);
            const float bias =
                    arguments.l2 ? -0.5f * length
                                 : sum_of_row<kLanesOfRow>(
                                           centroids, row, fours, [&](float x, int column) {
                                               return column < d ? mean[column] * scale * x : 0.0f;
                                           });
            if (c < count) {
                biases[c] = exists ? bias : -INFINITY;
                longest = larger(longest, length);
                largest_bias = larger(largest_bias, fabsf(bias));
            }
        }
        if (tile == 0) {
            constexpr int kLanesOfRow = kThreads / kRows;
            squares[thread / kLanesOfRow] =
                    sum_of_row<kLanesOfRow>(points, thread / kLanesOfRow, fours, square);
        }
        float scores[kEach][kEach] = {};
#pragma unroll 2
        for (int four = 0; four < fours; four++) {
            float4 x[kEach];
            float4 c[kEach];
#pragma unroll
            for (int i = 0; i < kEach; i++) {
                x[i] = points.at(group + i * (kThreads / kSharers), four);
                c[i] = centroids.at(sharer + i * kSharers, four);
            }
#pragma unroll
            for (int i = 0; i < kEach; i++) {
#pragma unroll
                for (int j = 0; j < kEach; j++) {
                    float score = scores[i][j];
                    score = __fmaf_rn(x[i].x, c[j].x, score);
                    score = __fmaf_rn(x[i].y, c[j].y, score);
                    score = __fmaf_rn(x[i].z, c[j].z, score);
                    scores[i][j] = __fmaf_rn(x[i].w, c[j].w, score);
                }
            }
        }
        __syncthreads(); // the biases are there; and the tile has been read
#pragma unroll
        for (int j = 0; j < kEach; j++) {
            const int own = sharer + j * kSharers;
            if (own < count) { // the last tile may have fewer: what lies there is no centroid
                const float bias = biases[own];
#pragma unroll
                for (int i = 0; i < kEach; i++) {
                    leaders[i].take(scores[i][j] + bias, tile + own);
                }
            }
        }
    }
    const float length = round_up(length_of(block_max(longest)));
    const double terms = arguments.l2 ? 0 : double{arguments.mean_length[problem]} * scale * length;
    const DirectBounds bounds{length, round_up(double{block_max(largest_bias)} + terms / 2), scale};
    // Lanes share the points out while they compare; those of the same point go on together.
    int mine = 0; // of a thread's points
    int mask = kSharers / 2;
#pragma unroll
    for (int half = kEach / 2; half > 0; half /= 2, mask /= 2) {
        const bool upper = sharer & mask;
        mine += upper ? half : 0;
#pragma unroll
        for (int i = 0; i < half; i++) {
            const Leaders given = upper ? leaders[i] : leaders[i + half];
            leaders[i] = upper ? leaders[i + half] : leaders[i];
            leaders[i].join(given, mask);
        }
    }
    const bool writes = sharer % (2 * mask) == 0;
#pragma unroll
    for (; mask > 0; mask /= 2) {
        leaders[0].join(leaders[0], mask);
    }
    const int row = group + mine * (kThreads / kSharers);
    const float margin = margin_of(length_of(squares[row]), bounds, d, float64_error);
    const bool has_row = writes && row < existing;
    const bool decided =
            finish_rows(arguments, problem, leaders[0], margin, first_row + row, has_row);
    count_decided(arguments.counts + problem, decided);
}

} // namespace

void assign_long_rows(const DirectArguments& arguments, int64_t batch, cudaStream_t stream) {
    const dim3 grid(blocks_of(arguments.n, kRows), static_cast<unsigned>(batch));
    const bool vectors = reads_vectors(arguments.dtype, arguments.d);
    allow_all_shared_memory(reinterpret_cast<const void*>(long_rows_kernel));
    long_rows_kernel<<<grid, kThreads, shared_bytes(arguments.d), stream>>>(arguments, vectors);
    check_launch("assigning long rows");
}

} // namespace faiss_flash::cuda
