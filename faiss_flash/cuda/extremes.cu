/// Budget: the rows once, n d bytes of their type; seven instructions a value.
///
/// 1. A group of lanes takes a row, 16 bytes of it a lane; a block goes over every so-many-th row.
/// 2. Lanes keep their columns' extremes in registers, and bring them together in the block's
///    shared memory, then in the device's.
#include <faiss_flash/cuda/device_info.h>
#include <faiss_flash/cuda/extremes.h>
#include <faiss_flash/cuda/runtime/check.h>
#include <faiss_flash/cuda/runtime/copy.h>
#include <faiss_flash/cuda/update/layout.h>
#include <faiss_flash/cuda/row_part.cuh>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

namespace faiss_flash::cuda {

namespace {

constexpr int kThreads = 256;
constexpr int kExtremes = 4;    // of a column
constexpr int kMostSlice = 256; // columns of a block
constexpr uint32_t kMagnitude = 0x7FFFFFFF;
constexpr uint32_t kInfinity = 0x7F800000;

struct ExtremeArguments {
    const uint8_t* rows;
    int64_t row_bytes;
    int64_t n;
    int d;
    SumLayout layout;
    uint32_t* found; ///< [kExtremes x all]
    int64_t all;     ///< batch * d
};

template <class Element, int kVector, bool kVectors>
__global__ void __launch_bounds__(kThreads) extreme_kernel(const ExtremeArguments arguments) {
    __shared__ uint32_t shared[kExtremes][kMostSlice];
    const int slice = arguments.layout.slice();
    for (int i = static_cast<int>(threadIdx.x); i < kExtremes * kMostSlice; i += kThreads) {
        shared[i / kMostSlice][i % kMostSlice] = 0;
    }
    __syncthreads();
    const int lanes = arguments.layout.lanes();
    const int within = static_cast<int>(threadIdx.x) % lanes * kVector;
    const int column = static_cast<int>(blockIdx.y) * slice + within;
    const int64_t n = arguments.n;
    const uint8_t* rows = arguments.rows + int64_t{blockIdx.z} * n * arguments.row_bytes;
    const int groups = kThreads / lanes;
    const int64_t step = int64_t{gridDim.x} * groups;
    float high[kVector];
    float low[kVector];
    uint32_t largest[kVector] = {};
    uint32_t smallest[kVector] = {};
#pragma unroll
    for (int v = 0; v < kVector; v++) {
        high[v] = -INFINITY;
        low[v] = INFINITY;
    }
    constexpr int kRows = 4; // on their way together
    for (int64_t i = int64_t{blockIdx.x} * groups + static_cast<int>(threadIdx.x) / lanes;
         column < arguments.d && i < n;
         i += kRows * step) {
        RowPart<Element, kVector, kVectors> parts[kRows];
#pragma unroll
        for (int r = 0; r < kRows; r++) {
            const int64_t row = i + r * step < n ? i + r * step : i; // twice does no harm
            parts[r].load(rows + row * arguments.row_bytes, column, arguments.d);
        }
#pragma unroll
        for (int r = 0; r < kRows; r++) {
#pragma unroll
            for (int v = 0; v < kVector; v++) {
                const float x = parts[r].value(v);
                const uint32_t magnitude = __float_as_uint(x) & kMagnitude;
                const float finite = magnitude < kInfinity ? x : 0.0f;
                high[v] = fmaxf(high[v], finite);
                low[v] = fminf(low[v], finite);
                largest[v] = max(largest[v], magnitude);
                smallest[v] = max(smallest[v], ~(magnitude - 1));
            }
        }
    }
#pragma unroll
    for (int v = 0; v < kVector; v++) {
        if (low[v] <= high[v]) { // there were rows
            atomicMax(&shared[0][within + v], ordered(high[v]));
            atomicMax(&shared[1][within + v], ordered(-low[v]));
            atomicMax(&shared[2][within + v], largest[v]);
            atomicMax(&shared[3][within + v], smallest[v]);
        }
    }
    __syncthreads();
    const int first = static_cast<int>(blockIdx.y) * slice;
    const int count = min(slice, arguments.d - first);
    uint32_t* found = arguments.found + int64_t{blockIdx.z} * arguments.d + first;
    for (int i = static_cast<int>(threadIdx.x); i < count; i += kThreads) {
#pragma unroll
        for (int e = 0; e < kExtremes; e++) {
            atomicMax(found + e * arguments.all + i, shared[e][i]);
        }
    }
}

float of_bits(uint32_t bits) {
    float value;
    std::memcpy(&value, &bits, sizeof value);
    return value;
}

} // namespace

ColumnExtremes::ColumnExtremes(int64_t batch_in, int64_t d_in, Arena& arena)
    : batch(batch_in), d(d_in), high(arena.take<uint32_t>(kExtremes * batch * d)) {
    low = high + batch * d;
    largest = low + batch * d;
    smallest = largest + batch * d;
}

ColumnExtremes ColumnExtremes::of_problem(int64_t b) const {
    ColumnExtremes one = *this;
    one.batch = 1;
    for (uint32_t** values : {&one.high, &one.low, &one.largest, &one.smallest}) {
        *values += b * d;
    }
    return one;
}

void ColumnExtremes::find(const DeviceRows& rows, cudaStream_t stream) {
    const auto bytes = static_cast<size_t>(kExtremes * batch * d) * sizeof(uint32_t);
    check(cudaMemsetAsync(high, 0, bytes, stream), "clearing the extremes");
    with_row_part(rows, [&](auto element, auto columns, auto vectors) {
        ExtremeArguments arguments{};
        arguments.rows = static_cast<const uint8_t*>(rows.data);
        arguments.row_bytes = rows.row_bytes;
        arguments.n = rows.n;
        arguments.d = static_cast<int>(d);
        arguments.layout = SumLayout(d, columns);
        arguments.found = high;
        arguments.all = batch * d;
        const unsigned slices = blocks_of(d, arguments.layout.slice());
        // As many blocks as run at a time: more would add more atomics.
        const int64_t running = int64_t{8} * device_info().multiprocessors;
        const int64_t blocks = running / (batch * slices) + 1;
        const unsigned wanted = blocks_of(rows.n, 4 * kThreads / arguments.layout.lanes());
        const dim3 grid(
                static_cast<unsigned>(std::min<int64_t>(wanted, blocks)),
                slices,
                static_cast<unsigned>(batch));
        extreme_kernel<decltype(element), columns, vectors>
                <<<grid, kThreads, 0, stream>>>(arguments);
    });
    check_launch("extremes of the columns");
}

RowFacts ColumnExtremes::facts(cudaStream_t stream) const {
    const int64_t count = batch * d;
    std::vector<uint32_t> found(static_cast<size_t>(2 * count));
    copy(found.data(), largest, 2 * count, cudaMemcpyDeviceToHost, stream);
    check(cudaStreamSynchronize(stream), "waiting for the ranges");
    RowFacts facts(static_cast<size_t>(batch), ColumnRange(d + 1));
    for (int64_t b = 0; b < batch; b++) {
        ColumnRange& range = facts[static_cast<size_t>(b)];
        for (int64_t j = 0; j < d; j++) {
            const uint32_t most = found[static_cast<size_t>(b * d + j)];
            const uint32_t least = ~found[static_cast<size_t>(count + b * d + j)] + 1;
            const auto column = static_cast<size_t>(j);
            range.largest[column] = most < kInfinity ? of_bits(most) : HUGE_VAL;
            range.smallest[column] = least != 0 ? of_bits(least) : HUGE_VAL;
        }
        range.largest.back() = range.smallest.back() = 1;
    }
    return facts;
}

} // namespace faiss_flash::cuda
