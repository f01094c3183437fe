// Compiled without contraction: the CPU backend's bits.
//
// Budget: the rows twice a run, n d bytes of their type; the values once an iteration.
//
// Ranges: a thread takes a column of every so-many-th row.
// Squares:
// 1. A thread takes a column of every so-many-th row: x^2 is exact in float64, and is cut into
//    64-bit integers, limb after limb (core/fixed_point.h).
// 2. One warp a problem adds up its columns in pairs of doubles.
#include <faiss_flash/cuda/device_info.h>
#include <faiss_flash/cuda/runtime/buffer.h>
#include <faiss_flash/cuda/runtime/check.h>
#include <faiss_flash/cuda/runtime/copy.h>
#include <faiss_flash/cuda/update/row_facts.h>
#include <faiss_flash/cuda/elements.cuh>

#include <algorithm>
#include <cmath>

namespace faiss_flash::cuda {

namespace {

constexpr int kThreads = 256;
constexpr int kRangeThreads = 128;
constexpr int kFewLimbs = 4; // fit in registers

/// Largest and smallest non-zero |weight x| of each problem's columns; columns d: of the weights
/// themselves. [batch x (d + 1)]
template <class Element>
__global__ void range_kernel(
        const uint8_t* rows,
        int64_t row_bytes,
        const float* weights,
        int64_t n,
        int64_t d,
        unsigned long long* largest,
        unsigned long long* smallest) {
    const int64_t column = int64_t{blockIdx.y} * kRangeThreads + threadIdx.x;
    if (column > d) {
        return;
    }
    const int64_t problem = blockIdx.z;
    double high = 0;
    double low = HUGE_VAL;
    for (int64_t i = blockIdx.x; i < n; i += gridDim.x) {
        const auto* row = reinterpret_cast<const Element*>(rows + (problem * n + i) * row_bytes);
        const double weight = weights ? weights[i] : 1.0;
        const double x = column < d ? static_cast<float>(row[column]) : 1.0f;
        const double value = fabs(weight * x);
        high = fmax(high, value);
        low = value > 0 ? fmin(low, value) : low;
    }
    // Of values >= 0, which order as their bits do.
    const int64_t at = problem * (d + 1) + column;
    atomicMax(largest + at, static_cast<unsigned long long>(__double_as_longlong(high)));
    atomicMin(smallest + at, static_cast<unsigned long long>(__double_as_longlong(low)));
}

/// units [batch x d] and sums [batch x limbs x d].
struct SquareArguments {
    const uint8_t* rows;
    int64_t row_bytes;
    int64_t n, d;
    const double* units;
    double limb_step;
    int limbs;
    unsigned long long* sums;
};

template <class Element, int kMostLimbs>
__global__ void square_kernel(const SquareArguments arguments) {
    const int64_t column = int64_t{blockIdx.y} * blockDim.x + threadIdx.x;
    const int64_t problem = blockIdx.z;
    const auto [rows, row_bytes, n, d, units, limb_step, limbs, sums] = arguments;
    if (column >= d) {
        return;
    }
    const double scale = 1 / units[problem * d + column];
    long long mine[kMostLimbs] = {};
    const int64_t step = int64_t{gridDim.x} * blockDim.y;
    for (int64_t i = int64_t{blockIdx.x} * blockDim.y + threadIdx.y; i < n; i += step) {
        const auto* row = reinterpret_cast<const Element*>(rows + (problem * n + i) * row_bytes);
        const double x = static_cast<float>(row[column]);
        double rest = x * x * scale;
#pragma unroll
        for (int limb = 0; limb < kMostLimbs; limb++) {
            if (limb < limbs) {
                const double shifted = rest + FixedPoint::kRoundMagic;
                mine[limb] += __double_as_longlong(shifted) -
                              __double_as_longlong(FixedPoint::kRoundMagic);
                rest = (rest - (shifted - FixedPoint::kRoundMagic)) * limb_step;
            }
        }
    }
#pragma unroll
    for (int limb = 0; limb < kMostLimbs; limb++) {
        if (limb < limbs) {
            atomicAdd(
                    sums + (problem * limbs + limb) * d + column,
                    static_cast<unsigned long long>(mine[limb]));
        }
    }
}

/// One warp a problem, in the host's order.
__global__ void total_kernel(const SquareArguments arguments, DoubleDouble* squares) {
    static_assert(kColumnLanes == 32);
    __shared__ DoubleDouble lanes[kColumnLanes];
    const int64_t d = arguments.d;
    const int limbs = arguments.limbs;
    const int64_t problem = blockIdx.x;
    DoubleDouble mine{};
    for (int64_t column = threadIdx.x; column < d; column += kColumnLanes) {
        const auto part = [&](int limb) {
            return of_integer(
                    static_cast<int64_t>(arguments.sums[(problem * limbs + limb) * d + column]));
        };
        DoubleDouble total = part(limbs - 1);
        for (int limb = limbs - 2; limb >= 0; limb--) {
            total = add(scaled(total, 1 / arguments.limb_step), part(limb));
        }
        mine = add(mine, scaled(total, arguments.units[problem * d + column]));
    }
    lanes[threadIdx.x] = mine;
    __syncwarp();
    if (threadIdx.x == 0) {
        squares[problem] = fold(lanes, kColumnLanes);
    }
}

__global__ void value_kernel(const double* values, int64_t n, LongSum* sum) {
    __shared__ unsigned long long shared[LongSum::kBins];
    int64_t mine[LongSum::kBins] = {};
    const int64_t step = int64_t{gridDim.x} * kThreads;
    for (int64_t i = int64_t{blockIdx.x} * kThreads + threadIdx.x; i < n; i += step) {
        add_to_bins(values[i], mine);
    }
    if (threadIdx.x < LongSum::kBins) {
        shared[threadIdx.x] = 0;
    }
    __syncthreads();
    for (int i = 0; i < LongSum::kBins; i++) {
        if (mine[i] != 0) {
            atomicAdd(shared + i, static_cast<unsigned long long>(mine[i]));
        }
    }
    __syncthreads();
    if (threadIdx.x < LongSum::kBins && shared[threadIdx.x] != 0) {
        auto* bins = reinterpret_cast<unsigned long long*>(sum->bins);
        atomicAdd(bins + threadIdx.x, shared[threadIdx.x]);
    }
}

/// Of a value's last bit, how much closer to its first than in a float32.
int missing_bits(DType dtype) {
    return dtype == DType::f16 ? 13 : dtype == DType::bf16 ? 16 : 0;
}

SquareArguments arguments_of(const SumFormat& format, int64_t* sums) {
    SquareArguments arguments{};
    arguments.d = format.workload.d;
    arguments.units = format.square_units;
    arguments.limb_step = format.limb_step;
    arguments.limbs = format.square_limbs;
    arguments.sums = reinterpret_cast<unsigned long long*>(sums);
    return arguments;
}

} // namespace

RowFacts find_ranges(
        const DeviceRows& rows, const float* weights, int64_t terms, cudaStream_t stream) {
    const int64_t columns = rows.d + 1; // the last one is of the weights
    // All of a binary16, whatever the data, where one limb holds it: nothing to wait for.
    ColumnRange half(columns);
    std::fill(half.largest.begin(), half.largest.end(), 65504.0);
    std::fill(half.smallest.begin(), half.smallest.end(), 0x1p-1); // 2^-24 is its last bit
    const auto batch = static_cast<size_t>(rows.batch);
    if (rows.dtype == DType::f16 && FixedPoint::plan(half, terms).limbs == 1) {
        return RowFacts(batch, half);
    }
    ColumnRange all(rows.batch * columns);
    const Buffer<double> largest(all.largest.size(), stream);
    const Buffer<double> smallest(all.largest.size(), stream);
    const int64_t count = rows.batch * columns;
    copy(largest.get(), all.largest.data(), count, cudaMemcpyHostToDevice, stream);
    copy(smallest.get(), all.smallest.data(), count, cudaMemcpyHostToDevice, stream);
    const dim3 grid(
            static_cast<unsigned>(std::min<int64_t>(rows.n, 2048)),
            blocks_of(columns, kRangeThreads),
            static_cast<unsigned>(rows.batch));
    with_float_element(rows.dtype, [&](auto element) {
        range_kernel<decltype(element)><<<grid, kRangeThreads, 0, stream>>>(
                static_cast<const uint8_t*>(rows.data),
                rows.row_bytes,
                weights,
                rows.n,
                rows.d,
                reinterpret_cast<unsigned long long*>(largest.get()),
                reinterpret_cast<unsigned long long*>(smallest.get()));
    });
    check_launch("ranges of the columns");
    copy(all.largest.data(), largest.get(), count, cudaMemcpyDeviceToHost, stream);
    copy(all.smallest.data(), smallest.get(), count, cudaMemcpyDeviceToHost, stream);
    check(cudaStreamSynchronize(stream), "waiting for the ranges");
    RowFacts facts(batch, ColumnRange(columns));
    for (int64_t i = 0; i < count; i++) {
        ColumnRange& range = facts[static_cast<size_t>(i / columns)];
        const auto column = static_cast<size_t>(i % columns);
        const auto at = static_cast<size_t>(i);
        range.largest[column] = all.largest[at];
        range.smallest[column] = std::ldexp(all.smallest[at], missing_bits(rows.dtype));
    }
    return facts;
}

void add_squares(
        const DeviceRows& rows, const SumFormat& format, int64_t* sums, cudaStream_t stream) {
    SquareArguments arguments = arguments_of(format, sums);
    arguments.rows = static_cast<const uint8_t*>(rows.data);
    arguments.row_bytes = rows.row_bytes;
    arguments.n = rows.n;
    unsigned columns = 4;
    while (columns < 32 && columns < rows.d) {
        columns *= 2;
    }
    const dim3 threads(columns, kThreads / columns);
    const unsigned slices = blocks_of(rows.d, columns);
    // As many blocks as run at a time: more would add more atomics.
    constexpr int64_t kRowsEach = 8;
    const int64_t blocks = int64_t{8} * device_info().multiprocessors / (rows.batch * slices) + 1;
    const int64_t wanted = blocks_of(rows.n, threads.y * kRowsEach);
    const dim3 grid(
            static_cast<unsigned>(std::min(wanted, blocks)),
            slices,
            static_cast<unsigned>(rows.batch));
    with_float_element(rows.dtype, [&](auto element) {
        using Element = decltype(element);
        const auto kernel = arguments.limbs <= kFewLimbs
                                    ? square_kernel<Element, kFewLimbs>
                                    : square_kernel<Element, FixedPoint::kMaxLimbs>;
        kernel<<<grid, threads, 0, stream>>>(arguments);
    });
    check_launch("summing the squares");
}

void total_squares(
        const SumFormat& format, int64_t* sums, DoubleDouble* squares, cudaStream_t stream) {
    const auto batch = static_cast<unsigned>(format.workload.batch);
    total_kernel<<<batch, kColumnLanes, 0, stream>>>(arguments_of(format, sums), squares);
    check_launch("the sum of all squares");
}

void sum_values(const double* values, int64_t n, LongSum* sum, cudaStream_t stream) {
    constexpr int64_t kMostBlocks = 512;
    const unsigned blocks =
            static_cast<unsigned>(std::min<int64_t>(blocks_of(n, kThreads), kMostBlocks));
    value_kernel<<<blocks, kThreads, 0, stream>>>(values, n, sum);
    check_launch("the sum of values");
}

} // namespace faiss_flash::cuda
