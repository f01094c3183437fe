// Compiled without contraction: sums in float64 have the CPU backend's bits.
#include <faiss_flash/cuda/assign/assign.h>
#include <faiss_flash/cuda/assign/tile_config.h>
#include <faiss_flash/cuda/device_info.h>
#include <faiss_flash/cuda/exact/assign.h>
#include <faiss_flash/cuda/runtime/check.h>

namespace faiss_flash::cuda {

namespace {

constexpr int kThreads = 256;
constexpr int kLanes = 8; // of a sum in float64
constexpr int32_t kNoId = 0x7FFFFFFF;

/// The sum of a group's lanes, in the CPU backend's order.
__device__ double add_lanes(double sum) {
    const unsigned mask = 0xFFu << (threadIdx.x % 32 / kLanes * kLanes);
    sum += __shfl_xor_sync(mask, sum, 4);
    sum += __shfl_xor_sync(mask, sum, 2);
    return sum + __shfl_xor_sync(mask, sum, 1);
}

/// Squared distances or products of rows x [kRows x d], of which `rows` exist, and one other row,
/// by the eight lanes of a group; all have the results.
template <int kRows>
__device__ void measures(
        double (&sums)[kRows], const float* x, int rows, const float* c, int64_t d, bool l2) {
    const int lane = static_cast<int>(threadIdx.x) % kLanes;
#pragma unroll
    for (int r = 0; r < kRows; r++) {
        sums[r] = 0;
    }
    for (int64_t j = lane; j < d; j += kLanes) {
        const double b = c[j];
#pragma unroll
        for (int r = 0; r < kRows; r++) {
            const double a = r < rows ? x[r * d + j] : 0.0f;
            const double difference = a - b;
            sums[r] += l2 ? difference * difference : a * b;
        }
    }
#pragma unroll
    for (int r = 0; r < kRows; r++) {
        sums[r] = add_lanes(sums[r]);
    }
}

__device__ bool beats(double value, int32_t id, double other, int32_t other_id, bool l2) {
    return l2 ? value < other || (value == other && id < other_id)
              : value > other || (value == other && id < other_id);
}

/// Lists the points whose best score may not be the best.
__global__ void certify_kernel(
        const float* best,
        const float* second,
        const float* lengths,
        const float* residuals,
        const CentroidBounds* bounds,
        int64_t n,
        int64_t d,
        int32_t* open,
        int32_t* open_count) {
    const int64_t row = int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
    if (row >= n) {
        return;
    }
    const double sum_error = (static_cast<double>(d) / 16 + 4) * 20 * 0x1p-24;
    const double length = lengths[row];
    const double rounded_length = double{bounds->length} + double{bounds->residual};
    // With folded biases a row's reach is part of the sum as well.
    const double products = d <= kMostFoldedColumns ? 2.02 : 1.0;
    const double magnitude = products * length * rounded_length + double{bounds->bias};
    const double error = length * bounds->residual + double{residuals[row]} * bounds->length +
                         sum_error * magnitude + 0x1p-100;
    // Written so that a NaN anywhere leaves the point open.
    if (!(double{best[row]} - double{second[row]} > 2.0 * error)) {
        open[atomicAdd(open_count, 1)] = static_cast<int32_t>(row);
    }
}

/// float64 over all centroids, one block for kRows points, eight lanes a centroid: the centroids
/// come from L2 once for kRows points, K d 4 bytes, for K d 3 kRows operations of float64.
template <int kRows>
__global__ void decide_kernel(
        const float* points,
        const float* centroids,
        int32_t k,
        int64_t d,
        bool l2,
        const int32_t* open,
        const int32_t* open_count,
        int32_t* ids,
        int64_t* decided) {
    extern __shared__ float x[]; // [kRows x d]
    constexpr int kGroups = kThreads / kLanes;
    __shared__ double values[kGroups][kRows];
    __shared__ int32_t group_ids[kGroups][kRows];
    const int group = static_cast<int>(threadIdx.x) / kLanes;
    const int lane = static_cast<int>(threadIdx.x) % kLanes;
    const int count = *open_count;
    for (int first_row = blockIdx.x * kRows; first_row < count; first_row += gridDim.x * kRows) {
        const int rows = min(kRows, count - first_row);
        for (int r = 0; r < rows; r++) {
            const float* from = points + int64_t{open[first_row + r]} * d;
            for (int64_t j = threadIdx.x; j < d; j += kThreads) {
                x[r * d + j] = from[j];
            }
        }
        __syncthreads();
        double value[kRows];
        int32_t id[kRows];
#pragma unroll
        for (int r = 0; r < kRows; r++) {
            value[r] = l2 ? HUGE_VAL : -HUGE_VAL;
            id[r] = kNoId;
        }
        // Groups of a warp go on together: measures() shuffles.
        for (int32_t first = 0; first < k; first += kGroups) {
            const int32_t c = first + group;
            double other[kRows];
            measures(other, x, rows, centroids + int64_t{min(c, k - 1)} * d, d, l2);
#pragma unroll
            for (int r = 0; r < kRows; r++) {
                if (c < k && beats(other[r], c, value[r], id[r], l2)) {
                    value[r] = other[r];
                    id[r] = c;
                }
            }
        }
        if (lane == 0) {
#pragma unroll
            for (int r = 0; r < kRows; r++) {
                values[group][r] = value[r];
                group_ids[group][r] = id[r];
            }
        }
        __syncthreads();
        if (static_cast<int>(threadIdx.x) < rows) {
            const int r = static_cast<int>(threadIdx.x);
            double best = values[0][r];
            int32_t best_id = group_ids[0][r];
            for (int g = 1; g < kGroups; g++) {
                if (beats(values[g][r], group_ids[g][r], best, best_id, l2)) {
                    best = values[g][r];
                    best_id = group_ids[g][r];
                }
            }
            bool finite = true;
            for (int64_t j = 0; j < d; j++) {
                finite = finite && isfinite(x[r * d + j]);
            }
            ids[open[first_row + r]] = finite ? best_id : -1;
        }
        __syncthreads();
    }
    if (blockIdx.x == 0 && threadIdx.x == 0) {
        *decided += count;
    }
}

/// The value of every point's centroid, eight lanes a point.
__global__ void value_kernel(
        const float* points,
        const float* centroids,
        const int32_t* ids,
        int64_t n,
        int64_t d,
        bool l2,
        double* values) {
    const int64_t row = (int64_t{blockIdx.x} * blockDim.x + threadIdx.x) / kLanes;
    const int32_t id = row < n ? ids[row] : -1;
    if (row >= n) {
        return;
    }
    double value[1] = {nan("")};
    if (id >= 0) {
        measures(value, points + row * d, 1, centroids + int64_t{id} * d, d, l2);
    }
    if (threadIdx.x % kLanes == 0) {
        values[row] = value[0];
    }
}

} // namespace

void assign_exact(
        const DevicePoints& points,
        const float* centroids,
        int64_t k,
        Metric metric,
        const ExactOutput& output,
        cudaStream_t stream) {
    const int64_t n = points.n();
    const int64_t d = points.d();
    const bool l2 = metric == Metric::l2;
    const Buffer<CentroidBounds> bounds(1, stream);
    const Centring centring{points.mean(), points.scale(), bounds.get()};
    CentroidTable table(1, k, d, false, metric, stream);
    prepare_centred(centroids, centring, table, stream);

    const Buffer<float> best(static_cast<size_t>(n), stream);
    const Buffer<float> second(static_cast<size_t>(n), stream);
    const Buffer<int32_t> open(static_cast<size_t>(n), stream);
    const Buffer<int32_t> open_count(1, stream);
    check(cudaMemsetAsync(open_count.get(), 0, sizeof(int32_t), stream), "clearing a counter");
    assign(points.tensor(), table, {best.get(), second.get(), output.ids}, stream);
    certify_kernel<<<blocks_of(n, kThreads), kThreads, 0, stream>>>(
            best.get(),
            second.get(),
            points.lengths(),
            points.residuals(),
            bounds.get(),
            n,
            d,
            open.get(),
            open_count.get());
    check_launch("certifying an assignment");
    constexpr int kRows = 8;
    const bool several = d * kRows * 4 <= device_info().shared_bytes - 8192;
    const auto decide = several ? decide_kernel<kRows> : decide_kernel<1>;
    const auto shared = static_cast<int>(d * 4 * (several ? kRows : 1));
    check(cudaFuncSetAttribute(decide, cudaFuncAttributeMaxDynamicSharedMemorySize, shared),
          "shared memory of the decision kernel");
    const auto blocks = static_cast<unsigned>(8 * device_info().multiprocessors);
    decide<<<blocks, kThreads, static_cast<size_t>(shared), stream>>>(
            points.rows(),
            centroids,
            static_cast<int32_t>(k),
            d,
            l2,
            open.get(),
            open_count.get(),
            output.ids,
            output.open);
    check_launch("deciding points in float64");
    value_kernel<<<blocks_of(n * kLanes, kThreads), kThreads, 0, stream>>>(
            points.rows(), centroids, output.ids, n, d, l2, output.values);
    check_launch("values of an assignment");
}

} // namespace faiss_flash::cuda
