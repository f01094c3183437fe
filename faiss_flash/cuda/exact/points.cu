/// Budget: the rows once, n d bytes of their type, and n d 2 written: once a run, not once an
/// iteration.
#include <faiss_flash/cuda/device_info.h>
#include <faiss_flash/cuda/exact/points.h>
#include <faiss_flash/cuda/runtime/check.h>
#include <faiss_flash/cuda/update/layout.h>
#include <faiss_flash/cuda/exact/bounds.cuh>
#include <faiss_flash/cuda/exact/row_size.cuh>
#include <faiss_flash/cuda/row_part.cuh>
#include <faiss_flash/cuda/scaling.cuh>

#include <cub/block/block_reduce.cuh>

#include <cuda_fp16.h>

#include <algorithm>

namespace faiss_flash::cuda {

namespace {

constexpr int kThreads = 256;
constexpr int kReferenceThreads = 512;
constexpr int64_t kSample = 16384; // rows that make the reference

struct ConvertArguments {
    const uint8_t* rows;
    int64_t row_bytes;
    const float *mean, *scale;
    int64_t n;
    int d, row_elements;
    SumLayout layout;
    __half* halves;
    uint32_t* sizes;
};

/// A group of lanes takes a row, and every so-many-th after it: the next columns are on their way
/// while a lane converts the last ones.
template <class Element, int kVector, bool kVectors>
__global__ void __launch_bounds__(kThreads) convert_kernel(const ConvertArguments arguments) {
    struct alignas(2 * kVector) Halves {
        __half values[kVector];
    };
    using Part = RowPart<Element, kVector, kVectors>;
    const int64_t n = arguments.n;
    const int d = arguments.d;
    const int row_elements = arguments.row_elements;
    const int lanes = arguments.layout.lanes();
    const int slice = arguments.layout.slice();
    const int first_column = static_cast<int>(threadIdx.x) % lanes * kVector;
    const int64_t thread = int64_t{blockIdx.x} * kThreads + threadIdx.x;
    const int64_t step = int64_t{gridDim.x} * kThreads / lanes;
    const float factor = *arguments.scale; // a power of two: products with it are exact
    const auto load = [&](Part& part, int64_t row, int column) {
        if (row < n && column < d) {
            part.load(arguments.rows + row * arguments.row_bytes, column, d);
        }
    };
    // Rows of one slice have the same columns in all of a lane's: their means stay in registers.
    float means[kVector];
    int means_column = -1;
    Part next;
    load(next, thread / lanes, first_column);
    // The lanes of a warp, of whatever rows, go on together.
    for (int64_t row = thread / lanes; row - thread % 32 / lanes < n; row += step) {
        float square = 0;
        float residual_square = 0;
        bool inexact = false;
        for (int column = first_column; column - first_column < row_elements; column += slice) {
            const Part part = next;
            const bool more = column + slice - first_column < row_elements;
            load(next, more ? row : row + step, more ? column + slice : first_column);
            if (column != means_column) {
#pragma unroll
                for (int v = 0; v < kVector; v++) {
                    means[v] = column + v < d ? arguments.mean[column + v] : 0.0f;
                }
                means_column = column;
            }
            Halves to;
#pragma unroll
            for (int v = 0; v < kVector; v++) {
                const float x = column + v < d ? part.value(v) : 0.0f;
                const float mean = means[v];
                // What the difference rounds off is known exactly (Knuth's two-sum).
                const float centred = x - mean;
                const float back = centred - x;
                const float lost = (x - (centred - back)) - (mean + back);
                to.values[v] = __float2half_rn(centred * factor);
                const float rounded = __half2float(to.values[v]);
                const float residual = (centred * factor - rounded) + lost * factor;
                square += rounded * rounded;
                residual_square += residual * residual;
                inexact = inexact || residual != 0 || lost != 0;
            }
            if (row < n && column < row_elements) {
                *reinterpret_cast<Halves*>(arguments.halves + row * row_elements + column) = to;
            }
        }
        // Squares below float32's range count as nothing in the sum.
        residual_square += inexact ? static_cast<float>(d) * 0x1p-120f : 0.0f;
        for (int distance = lanes / 2; distance > 0; distance /= 2) {
            square += __shfl_xor_sync(~0u, square, distance);
            residual_square += __shfl_xor_sync(~0u, residual_square, distance);
        }
        if (row < n && first_column == 0) {
            const float up = 1 + (static_cast<float>(row_elements) / lanes + 16) * 0x1p-23f;
            arguments.sizes[row] = packed_size(sqrtf(square) * up, sqrtf(residual_square) * up);
        }
    }
}

/// 1.1 times the root of the mean square of a sample: any values are right, good ones let more
/// rows be certified.
__global__ void reference_kernel(
        const uint32_t* sizes, int64_t n, int64_t sample, float* reference) {
    using Reduce = cub::BlockReduce<double, kReferenceThreads>;
    __shared__ typename Reduce::TempStorage storage;
    double sums[2] = {};
    for (int64_t i = threadIdx.x; i < sample; i += kReferenceThreads) {
        const RowSize size = row_size(sizes[i * n / sample]);
        const double length = size.length;
        const double residual = size.residual;
        const bool finite = isfinite(length) && isfinite(residual);
        sums[0] += finite ? length * length : 0;
        sums[1] += finite ? residual * residual : 0;
    }
    double least = 1e-30;
    for (int i = 0; i < 2; i++) {
        const double sum = Reduce(storage).Sum(sums[i]);
        if (threadIdx.x == 0) {
            const double value = 1.1 * sqrt(sum / static_cast<double>(sample)) + least;
            reference[i] = round_up(value);
            least = value * 0x1p-20; // of residuals, where most rows have none
        }
        __syncthreads();
    }
}

} // namespace

void DevicePoints::prepare(
        const DeviceRows& rows,
        const ColumnExtremes& extremes,
        Values values,
        cudaStream_t stream) {
    rows_ = rows;
    scaling_.find(rows, extremes, values, stream);
    with_row_part(rows, [&](auto element, auto columns, auto vectors) {
        ConvertArguments arguments{};
        arguments.rows = static_cast<const uint8_t*>(rows.data);
        arguments.row_bytes = rows.row_bytes;
        arguments.mean = mean();
        arguments.scale = scale();
        arguments.n = n_;
        arguments.d = static_cast<int>(d_);
        arguments.row_elements = static_cast<int>(row_elements_);
        arguments.layout = SumLayout(d_, columns);
        arguments.halves = reinterpret_cast<__half*>(halves_);
        arguments.sizes = sizes_;
        const int64_t running = int64_t{8} * device_info().multiprocessors;
        const int64_t wanted = blocks_of(n_ * arguments.layout.lanes(), kThreads);
        convert_kernel<decltype(element), columns, vectors>
                <<<static_cast<unsigned>(std::min(wanted, running)), kThreads, 0, stream>>>(
                        arguments);
    });
    check_launch("converting points");
    reference_kernel<<<1, kReferenceThreads, 0, stream>>>(
            sizes_, n_, std::min(n_, kSample), reference_);
    check_launch("lengths of most points");
}

} // namespace faiss_flash::cuda
