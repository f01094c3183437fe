/// Fixed-point sums of rows in the order of their clusters.
///
/// Budget: the rows once, n d bytes of their type, gathered; sums stay in L2. 7 instructions a
/// value.
///
/// A float x s is a 24-bit number. For the scale s of the first limb (F <= 45 bits) it is cut into
/// an upper piece of 22 bits and a lower one of F - 22 by adding 1.5 2^23, which leaves the rounded
/// integer in the mantissa. All of it is exact. Values with bits below the first limb (next to
/// never any) are told by their magnitude; these bits go to the other limbs at once, in float64.
/// 1. A block takes a chunk of the order, a group of lanes a run of it: 16 bytes of a row a lane.
/// 2. Pieces add up in 32-bit registers; where the cluster changes, they go to its sums by integer
///    additions, which come to the same in any order. Entries taken away have their signs turned.
#pragma once

#include <faiss_flash/cuda/update/entries.h>
#include <faiss_flash/cuda/update/layout.h>
#include <faiss_flash/cuda/row_part.cuh>
#include <faiss_flash/cuda/update/limb.cuh>

#include <cstdint>

namespace faiss_flash::cuda {

struct SumArguments {
    const uint8_t* rows;
    int64_t row_bytes;
    Entries entries;
    const int2* order; ///< [batch x n] the entries by cluster
    int d;
    int chunk; ///< entries of a block
    SumLayout layout;
    const double* scales; ///< [batch x (d + 1)] of the first limb
    int lower_bits;
    int limbs;
    double limb_step;
    unsigned long long* sums;
    unsigned long long* counts; ///< [batch x k] points of clusters
};

inline constexpr int kSumThreads = 128;
inline constexpr int kMostSumEntries = 2048; ///< of a block
inline constexpr int kSumBatch = 8;          ///< rows of a lane that are on their way

/// Turns the signs of a row's part where the entry's point is taken away. Bytes have none: theirs
/// are turned as they are added.
template <class Element, int kVector, bool kVectors>
__device__ void turn(RowPart<Element, kVector, kVectors>& part, int32_t point) {
    if constexpr (sizeof(Element) > 1 && kVectors) {
        constexpr uint32_t kSigns = sizeof(Element) == 2 ? 0x80008000u : 0x80000000u;
        const uint32_t signs = point < 0 ? kSigns : 0;
        auto* words = reinterpret_cast<uint32_t*>(part.values);
#pragma unroll
        for (size_t w = 0; w < sizeof(part.values) / 4; w++) {
            words[w] ^= signs;
        }
    } else if constexpr (sizeof(Element) > 1) {
#pragma unroll
        for (int v = 0; v < kVector; v++) {
            part.values[v] = point < 0 ? -part.values[v] : part.values[v];
        }
    }
}

/// Weight of a mantissa's highest bit to its lowest.
template <class Element>
inline constexpr float kMantissa = 0x1p23f;
template <>
inline constexpr float kMantissa<__half> = 0x1p10f;
template <>
inline constexpr float kMantissa<__nv_bfloat16> = 0x1p7f;

/// A lane's columns of one cluster.
template <int kVector>
struct Pieces {
    static constexpr float kMagic = 0x1.8p23f;
    uint32_t upper[kVector] = {};
    uint32_t lower[kVector] = {};

    __device__ void add(int v, float x, float scale, float lower_scale) {
        const float high = __fmaf_rn(x, scale, kMagic);
        const float rest = __fmaf_rn(x, scale, kMagic - high);
        upper[v] += __float_as_uint(high);
        lower[v] += __float_as_uint(__fmaf_rn(rest, lower_scale, kMagic));
    }

    /// The sum in units of the first limb; `terms` were added.
    __device__ long long take(int v, uint32_t terms, int lower_bits) {
        const uint32_t magic = terms * __float_as_uint(kMagic);
        const auto high = static_cast<int32_t>(upper[v] - magic);
        const auto low = static_cast<int32_t>(lower[v] - magic);
        upper[v] = lower[v] = 0;
        return static_cast<long long>(high) * static_cast<long long>(1 << lower_bits) + low;
    }
};

/// What a value has below the first limb, to the limbs after it.
__device__ inline void add_rest(
        float x, float scale, const SumArguments& arguments, unsigned long long* first_limb) {
    double left = static_cast<double>(x) * scale * static_cast<double>(1 << arguments.lower_bits);
    take_limb(left, arguments.limb_step);
    for (int limb = 1; limb < arguments.limbs && left != 0; limb++) {
        atomicAdd(
                first_limb + int64_t{limb} * arguments.layout.places,
                static_cast<unsigned long long>(take_limb(left, arguments.limb_step)));
    }
}

/// kRests: some value may have bits below the first limb.
template <class Element, int kVector, bool kVectors, bool kRests>
__global__ void __launch_bounds__(
        kSumThreads,
        kRests     ? (sizeof(Element) == 4 && kVectors ? 5 : 4)
        : kVectors ? 6
                   : 3) sum_kernel(const SumArguments arguments) {
    __shared__ int2 order[kMostSumEntries];
    const SumLayout& layout = arguments.layout;
    const auto problem = static_cast<int32_t>(blockIdx.z);
    const int chunk_first = static_cast<int>(blockIdx.x) * arguments.chunk;
    const int count = min(arguments.chunk, arguments.entries.count(problem) - chunk_first);
    if (count <= 0) {
        return;
    }
    const int64_t first_point = int64_t{problem} * arguments.entries.n;
    for (int i = static_cast<int>(threadIdx.x); i < count; i += kSumThreads) {
        order[i] = arguments.order[first_point + chunk_first + i];
    }
    __syncthreads();
    const int lanes = layout.lanes();
    const int lane = static_cast<int>(threadIdx.x) % lanes;
    const int run = arguments.chunk / (kSumThreads / lanes);
    const int begin = static_cast<int>(threadIdx.x) / lanes * run;
    const int end = min(count, begin + run);
    const int slice = static_cast<int>(blockIdx.y) * layout.slice();
    const int column = slice + lane * kVector;
    if (column >= arguments.d || begin >= end) {
        return;
    }
    const auto lower_scale = static_cast<float>(1 << arguments.lower_bits);
    const float upper_unit = 1 / lower_scale;
    float scale[kVector]; // of the upper piece
    const double* scales = arguments.scales + int64_t{problem} * (arguments.d + 1);
    float least[kVector]; // the smallest magnitude without bits below the first limb
#pragma unroll
    for (int v = 0; v < kVector; v++) {
        scale[v] = column + v < arguments.d ? static_cast<float>(scales[column + v] * upper_unit)
                                            : 1.0f;
        least[v] = kMantissa<Element> / lower_scale / scale[v];
    }
    const int64_t cluster_sums = int64_t{arguments.limbs} * layout.places;
    const int64_t first_cluster = int64_t{problem} * arguments.entries.k;
    const int place = slice + lane;
    const auto sums_of = [&](int cluster) {
        return arguments.sums + (first_cluster + cluster) * cluster_sums + place;
    };
    const uint8_t* points = arguments.rows + first_point * arguments.row_bytes;
    const auto row_of = [&](int32_t point) {
        return points + (point & ~Entries::kTaken) * arguments.row_bytes;
    };
    Pieces<kVector> pieces;
    int cluster = order[begin].y;
    int cluster_begin = begin;
    int taken = 0; // entries since then that are taken away
    const auto flush = [&](int at) {
        const auto terms = static_cast<uint32_t>(at - cluster_begin);
        unsigned long long* to = sums_of(cluster);
#pragma unroll
        for (int v = 0; v < kVector; v++) {
            const long long sum = pieces.take(v, terms, arguments.lower_bits);
            if (kVectors || column + v < arguments.d) {
                atomicAdd(to + v * lanes, static_cast<unsigned long long>(sum));
            }
        }
        if (column == 0) {
            const int64_t gained = at - cluster_begin - 2 * taken;
            atomicAdd(
                    arguments.counts + first_cluster + cluster,
                    static_cast<unsigned long long>(gained));
        }
    };
    using Part = RowPart<Element, kVector, kVectors>;
    const bool signs = !arguments.entries.all(problem);
    const auto term = [&](float x, int32_t point) {
        return sizeof(Element) == 1 && signs && point < 0 ? -x : x;
    };
    for (int at = begin; at < end; at += kSumBatch) {
        Part rows[kSumBatch];
#pragma unroll
        for (int i = 0; i < kSumBatch; i++) {
            rows[i].load(row_of(order[min(at + i, end - 1)].x), column, arguments.d);
        }
        if constexpr (kRests) {
            bool small = false;
#pragma unroll
            for (int i = 0; i < kSumBatch; i++) {
#pragma unroll
                for (int v = 0; v < kVector; v++) {
                    small = small || fabsf(rows[i].value(v)) < least[v];
                }
            }
            if (small) {
#pragma unroll 1
                for (int i = 0; i < min(kSumBatch, end - at); i++) {
                    const int2 entry = order[at + i];
                    Part row;
                    row.load(row_of(entry.x), column, arguments.d);
                    turn(row, entry.x);
#pragma unroll
                    for (int v = 0; v < kVector; v++) {
                        const float x = row.value(v);
                        if (fabsf(x) < least[v]) {
                            add_rest(x, scale[v], arguments, sums_of(entry.y) + v * lanes);
                        }
                    }
                }
            }
        }
        // The order is ascending: where the last row's cluster is this one, all rows' are.
        if (at + kSumBatch <= end && order[at + kSumBatch - 1].y == cluster) {
#pragma unroll
            for (int i = 0; i < kSumBatch; i++) {
                if (signs) {
                    turn(rows[i], order[at + i].x);
                    taken += order[at + i].x < 0;
                }
#pragma unroll
                for (int v = 0; v < kVector; v++) {
                    pieces.add(v, term(rows[i].value(v), order[at + i].x), scale[v], lower_scale);
                }
            }
            continue;
        }
#pragma unroll
        for (int i = 0; i < kSumBatch; i++) {
            if (at + i < end) {
                if (order[at + i].y != cluster) {
                    flush(at + i);
                    cluster = order[at + i].y;
                    cluster_begin = at + i;
                    taken = 0;
                }
                if (signs) {
                    turn(rows[i], order[at + i].x);
                    taken += order[at + i].x < 0;
                }
#pragma unroll
                for (int v = 0; v < kVector; v++) {
                    pieces.add(v, term(rows[i].value(v), order[at + i].x), scale[v], lower_scale);
                }
            }
        }
    }
    flush(end);
}

} // namespace faiss_flash::cuda
