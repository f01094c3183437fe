// Compiled without contraction: the CPU backend's bits.
//
// Budget: the rows once a run, n d bytes of their type, twice where they are weighted; the values
// once an iteration.
//
// Ranges: a thread takes a column of every so-many-th row.
// Squares:
// 1. A group of lanes takes a row, four columns a lane: x^2 is exact in float64, and is cut into
//    64-bit integers, limb after limb (core/fixed_point.h). A block brings its rows together in
//    shared memory: additions to one address of the device's wait for each other.
// 2. One warp a problem adds up its columns in pairs of doubles.
#include <faiss_flash/cuda/device_info.h>
#include <faiss_flash/cuda/runtime/buffer.h>
#include <faiss_flash/cuda/runtime/check.h>
#include <faiss_flash/cuda/runtime/copy.h>
#include <faiss_flash/cuda/update/layout.h>
#include <faiss_flash/cuda/update/row_facts.h>
#include <faiss_flash/cuda/row_part.cuh>
#include <faiss_flash/cuda/update/fold.cuh>
#include <faiss_flash/cuda/update/limb.cuh>

#include <algorithm>
#include <cmath>

namespace faiss_flash::cuda {

namespace {

constexpr int kThreads = 256;
constexpr int kRangeThreads = 128;
constexpr int kFewLimbs = 3; // fit in registers

/// Largest and smallest non-zero |weight x| of one problem's columns; column d: of the weights
/// themselves. [d + 1]
template <class Element>
__global__ void range_kernel(
        const DeviceRows rows,
        const float* weights,
        unsigned long long* largest,
        unsigned long long* smallest) {
    const int64_t column = int64_t{blockIdx.y} * kRangeThreads + threadIdx.x;
    if (column > rows.d) {
        return;
    }
    double high = 0;
    double low = HUGE_VAL;
    for (int64_t i = blockIdx.x; i < rows.n; i += gridDim.x) {
        const auto* from = static_cast<const uint8_t*>(rows.data) + i * rows.row_bytes;
        const auto* row = reinterpret_cast<const Element*>(from);
        const double x = column < rows.d ? static_cast<float>(row[column]) : 1.0f;
        const double value = fabs(weights[i] * x);
        high = fmax(high, value);
        low = value > 0 ? fmin(low, value) : low;
    }
    // Of values >= 0, which order as their bits do.
    atomicMax(largest + column, static_cast<unsigned long long>(__double_as_longlong(high)));
    atomicMin(smallest + column, static_cast<unsigned long long>(__double_as_longlong(low)));
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

template <class Element, int kVector, bool kVectors, int kMostLimbs>
__global__ void __launch_bounds__(kThreads)
        square_kernel(const SquareArguments arguments, const SumLayout layout) {
    const auto [rows, row_bytes, n, d, units, limb_step, limbs, sums] = arguments;
    const int lanes = layout.lanes();
    const int column = static_cast<int>(blockIdx.y) * layout.slice() +
                       static_cast<int>(threadIdx.x) % lanes * kVector;
    const int64_t problem = blockIdx.z;
    const uint8_t* first = rows + problem * n * row_bytes;
    const int groups = kThreads / lanes;
    const int64_t step = int64_t{gridDim.x} * groups;
    double scale[kVector];
    long long mine[kVector][kMostLimbs] = {};
#pragma unroll
    for (int v = 0; v < kVector; v++) {
        scale[v] = column + v < d ? 1 / units[problem * d + column + v] : 1.0;
    }
    constexpr int kRows = 2; // on their way together
    constexpr int kUnrolled = kMostLimbs <= kFewLimbs ? kMostLimbs : 1;
    for (int64_t i = int64_t{blockIdx.x} * groups + static_cast<int>(threadIdx.x) / lanes;
         column < d && i < n;
         i += kRows * step) {
        RowPart<Element, kVector, kVectors> parts[kRows];
#pragma unroll
        for (int r = 0; r < kRows; r++) {
            const int64_t row = min(i + r * step, n - 1);
            parts[r].load(first + row * row_bytes, column, static_cast<int>(d));
        }
#pragma unroll
        for (int r = 0; r < kRows; r++) {
            if (i + r * step >= n) {
                break;
            }
#pragma unroll
            for (int v = 0; v < kVector; v++) {
                const double x = parts[r].value(v);
                double rest = x * x * scale[v];
#pragma unroll(kUnrolled)
                for (int limb = 0; limb < kMostLimbs; limb++) {
                    if (limb < limbs) {
                        mine[v][limb] += take_limb(rest, limb_step);
                    }
                }
            }
        }
    }
    __shared__ long long warp_sums[kThreads / 32][32 * kVector]; // of a limb, by column
    const auto thread = static_cast<int>(threadIdx.x);
    const int first_column = static_cast<int>(blockIdx.y) * layout.slice();
#pragma unroll(kUnrolled)
    for (int limb = 0; limb < kMostLimbs; limb++) {
        if (limb < limbs) {
#pragma unroll
            for (int v = 0; v < kVector; v++) {
                long long sum = mine[v][limb];
                for (int distance = lanes; distance < 32; distance *= 2) { // the warp's rows
                    sum += __shfl_xor_sync(~0u, sum, distance);
                }
                if (thread % 32 < lanes) {
                    warp_sums[thread / 32][thread % 32 * kVector + v] = sum;
                }
            }
            __syncthreads();
            if (thread < layout.slice() && first_column + thread < d) {
                long long sum = 0;
#pragma unroll
                for (int warp = 0; warp < kThreads / 32; warp++) {
                    sum += warp_sums[warp][thread];
                }
                atomicAdd(
                        sums + (problem * limbs + limb) * d + first_column + thread,
                        static_cast<unsigned long long>(sum));
            }
            __syncthreads();
        }
    }
}

/// One warp a problem, in the host's order.
__global__ void total_kernel(const SquareArguments arguments, DoubleDouble* squares) {
    const int64_t d = arguments.d;
    const int limbs = arguments.limbs;
    const int64_t problem = blockIdx.x;
    const double limb_unit = 1 / arguments.limb_step;
    constexpr int kEach = 4; // columns whose loads are on their way together
    DoubleDouble mine{};
    for (int64_t first = threadIdx.x; first < d; first += kEach * kColumnLanes) {
        const auto column = [&](int i) { return min(first + i * kColumnLanes, d - 1); };
        const auto part = [&](int limb, int i) {
            const int64_t at = (problem * limbs + limb) * d + column(i);
            return of_integer(static_cast<int64_t>(arguments.sums[at]));
        };
        DoubleDouble totals[kEach];
        double units[kEach];
#pragma unroll
        for (int i = 0; i < kEach; i++) {
            units[i] = arguments.units[problem * d + column(i)];
            totals[i] = part(limbs - 1, i);
        }
        for (int limb = limbs - 2; limb >= 0; limb--) {
#pragma unroll
            for (int i = 0; i < kEach; i++) {
                totals[i] = add(scaled(totals[i], limb_unit), part(limb, i));
            }
        }
#pragma unroll
        for (int i = 0; i < kEach; i++) {
            if (first + i * kColumnLanes < d) {
                mine = add(mine, scaled(totals[i], units[i]));
            }
        }
    }
    mine = fold_warp(mine);
    if (threadIdx.x == 0) {
        squares[problem] = mine;
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

RowFacts find_weighted_ranges(const DeviceRows& rows, const float* weights, cudaStream_t stream) {
    const int64_t columns = rows.d + 1;
    RowFacts facts(1, ColumnRange(columns));
    ColumnRange& range = facts.front();
    const Buffer<double> largest(range.largest.size(), stream);
    const Buffer<double> smallest(range.largest.size(), stream);
    copy(largest.get(), range.largest.data(), columns, cudaMemcpyHostToDevice, stream);
    copy(smallest.get(), range.smallest.data(), columns, cudaMemcpyHostToDevice, stream);
    const dim3 grid(
            static_cast<unsigned>(std::min<int64_t>(rows.n, 2048)),
            blocks_of(columns, kRangeThreads));
    with_element(rows.dtype, [&](auto element) {
        range_kernel<decltype(element)><<<grid, kRangeThreads, 0, stream>>>(
                rows,
                weights,
                reinterpret_cast<unsigned long long*>(largest.get()),
                reinterpret_cast<unsigned long long*>(smallest.get()));
    });
    check_launch("ranges of the columns");
    copy(range.largest.data(), largest.get(), columns, cudaMemcpyDeviceToHost, stream);
    copy(range.smallest.data(), smallest.get(), columns, cudaMemcpyDeviceToHost, stream);
    check(cudaStreamSynchronize(stream), "waiting for the ranges");
    return facts;
}

void add_squares(
        const DeviceRows& rows, const SumFormat& format, int64_t* sums, cudaStream_t stream) {
    SquareArguments arguments = arguments_of(format, sums);
    arguments.rows = static_cast<const uint8_t*>(rows.data);
    arguments.row_bytes = rows.row_bytes;
    arguments.n = rows.n;
    with_element(rows.dtype, [&](auto element) {
        using Element = decltype(element);
        constexpr int kVector = 4; // more columns' limbs do not fit in registers
        const bool vectors = reads_vectors(rows.dtype, rows.d);
        const SumLayout layout(rows.d, kVector);
        const unsigned slices = blocks_of(rows.d, layout.slice());
        // As many blocks as run at a time: more would add more atomics.
        const int64_t blocks =
                int64_t{8} * device_info().multiprocessors / (rows.batch * slices) + 1;
        const int64_t wanted = blocks_of(rows.n, 4 * kThreads / layout.lanes());
        const dim3 grid(
                static_cast<unsigned>(std::min(wanted, blocks)),
                slices,
                static_cast<unsigned>(rows.batch));
        const bool few = arguments.limbs <= kFewLimbs;
        constexpr int kMost = FixedPoint::kMaxLimbs;
        const auto kernel = vectors ? few ? square_kernel<Element, kVector, true, kFewLimbs>
                                          : square_kernel<Element, kVector, true, kMost>
                            : few ? square_kernel<Element, kVector, false, kFewLimbs>
                                    : square_kernel<Element, kVector, false, kMost>;
        kernel<<<grid, kThreads, 0, stream>>>(arguments, layout);
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
