// Compiled without contraction: the CPU backend's bits.
//
// Budget: the rows once a session, n d bytes of their type; the values once an iteration.
//
// 1. A thread takes a column of every so-many-th row: x^2 is exact in float64, and is cut into
//    64-bit integers, limb after limb (core/fixed_point.h).
// 2. One warp a problem adds up its columns in pairs of doubles.
#include <faiss_flash/cuda/device_info.h>
#include <faiss_flash/cuda/runtime/buffer.h>
#include <faiss_flash/cuda/runtime/check.h>
#include <faiss_flash/cuda/runtime/copy.h>
#include <faiss_flash/cuda/update/squares.h>
#include <faiss_flash/cuda/update/elements.cuh>

#include <algorithm>

namespace faiss_flash::cuda {

namespace {

constexpr int kThreads = 256;
constexpr int kFewLimbs = 4; // fit in registers

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

} // namespace

void sum_squares(
        const UpdateRows& rows,
        const std::vector<ColumnRange>& ranges,
        DoubleDouble* squares,
        cudaStream_t stream) {
    SquareArguments arguments{};
    arguments.limbs = 1;
    std::vector<double> units; // each problem's own; limbs that only others need are zeros
    for (const ColumnRange& range : ranges) {
        const FixedPoint format = FixedPoint::plan(squares_of(range, rows.d), rows.n);
        arguments.limbs = std::max(arguments.limbs, format.limbs);
        arguments.limb_step = format.limb_step; // follows from n
        for (const double scale : format.scale) {
            units.push_back(1 / scale);
        }
    }
    const auto count = static_cast<size_t>(rows.batch * arguments.limbs * rows.d);
    const Buffer<double> device_units(units.size(), stream);
    const Buffer<unsigned long long> sums(count, stream);
    copy(device_units.get(), units.data(), rows.batch * rows.d, cudaMemcpyHostToDevice, stream);
    check(cudaMemsetAsync(sums.get(), 0, count * 8, stream), "clearing the squares");
    arguments.rows = static_cast<const uint8_t*>(rows.data);
    arguments.row_bytes = rows.row_bytes;
    arguments.n = rows.n;
    arguments.d = rows.d;
    arguments.units = device_units.get();
    arguments.sums = sums.get();
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
    with_element(rows.dtype, [&](auto element) {
        using Element = decltype(element);
        const auto kernel = arguments.limbs <= kFewLimbs
                                    ? square_kernel<Element, kFewLimbs>
                                    : square_kernel<Element, FixedPoint::kMaxLimbs>;
        kernel<<<grid, threads, 0, stream>>>(arguments);
    });
    check_launch("summing the squares");
    total_kernel<<<static_cast<unsigned>(rows.batch), kColumnLanes, 0, stream>>>(
            arguments, squares);
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
