// Compiled without contraction: terms are rounded as the CPU backend rounds them.
//
// Budget: the points once, n d 4 bytes, in the order of their ids; the sort 8 n bytes a few times;
// K (d + 1) limbs 8 bytes of sums, which stay in L2.
//
// 1. A radix sort on the bits that K needs brings the point numbers into the order of their ids.
// 2. A block takes 128 points of that order; a thread sums a column in integers, and adds what it
//    has to the centroid's sums when the id changes. Integers add in any order.
// 3. Sums become means in float64, rounded once.
#include <faiss_flash/cuda/runtime/check.h>
#include <faiss_flash/cuda/runtime/copy.h>
#include <faiss_flash/cuda/update/update.h>

#include <cub/device/device_radix_sort.cuh>

#include <algorithm>
#include <vector>

namespace faiss_flash::cuda {

namespace {

constexpr int kThreads = 128;
constexpr int kChunk = 128; // points of a block

/// Largest and smallest non-zero |weight x| of each column; columns d: of the weights themselves.
__global__ void range_kernel(
        const float* points,
        const float* weights,
        int64_t n,
        int64_t d,
        unsigned long long* largest,
        unsigned long long* smallest) {
    const int64_t column = int64_t{blockIdx.y} * kThreads + threadIdx.x;
    if (column > d) {
        return;
    }
    double high = 0;
    double low = HUGE_VAL;
    for (int64_t i = blockIdx.x; i < n; i += gridDim.x) {
        const double weight = weights ? weights[i] : 1.0;
        const double x = column < d ? points[i * d + column] : 1.0f;
        const double value = fabs(weight * x);
        high = fmax(high, value);
        low = value > 0 ? fmin(low, value) : low;
    }
    // Of values >= 0, which order as their bits do.
    atomicMax(largest + column, static_cast<unsigned long long>(__double_as_longlong(high)));
    atomicMin(smallest + column, static_cast<unsigned long long>(__double_as_longlong(low)));
}

__global__ void number_kernel(int32_t* numbers, int64_t n, const int32_t* ids, int64_t* sizes) {
    const int64_t i = int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
    if (i < n) {
        numbers[i] = static_cast<int32_t>(i);
        atomicAdd(reinterpret_cast<unsigned long long*>(sizes + ids[i]), 1ull);
    }
}

/// kLimbs: 0 = any number of them.
template <int kLimbs>
__global__ void sum_kernel(
        const float* points,
        const float* weights,
        const int32_t* ids,
        const int32_t* order,
        int64_t n,
        int64_t d,
        const double* scales,
        double limb_step,
        int format_limbs,
        unsigned long long* sums) {
    __shared__ int32_t chunk_ids[kChunk];
    __shared__ int32_t chunk_rows[kChunk];
    __shared__ float chunk_weights[kChunk];
    const int64_t first = int64_t{blockIdx.x} * kChunk;
    const int count = static_cast<int>(min(int64_t{kChunk}, n - first));
    for (int i = static_cast<int>(threadIdx.x); i < count; i += kThreads) {
        chunk_ids[i] = ids[first + i];
        chunk_rows[i] = order[first + i];
        chunk_weights[i] = weights ? weights[chunk_rows[i]] : 1.0f;
    }
    __syncthreads();
    const int64_t columns = d + 1;
    const int limbs = kLimbs > 0 ? kLimbs : format_limbs;
    const int64_t last = weights ? columns : d;
    for (int64_t column = threadIdx.x; column < last; column += kThreads) {
        const double scale = scales[column];
        long long mine[kLimbs > 0 ? kLimbs : FixedPoint::kMaxLimbs] = {};
        for (int i = 0; i < count; i++) {
            const float x = column < d ? points[chunk_rows[i] * d + column] : 1.0f;
            double rest = double{chunk_weights[i]} * double{x} * scale;
#pragma unroll
            for (int limb = 0; limb < limbs; limb++) {
                const double shifted = rest + FixedPoint::kRoundMagic;
                mine[limb] += __double_as_longlong(shifted) -
                              __double_as_longlong(FixedPoint::kRoundMagic);
                rest = (rest - (shifted - FixedPoint::kRoundMagic)) * limb_step;
            }
            if (i + 1 == count || chunk_ids[i + 1] != chunk_ids[i]) {
                unsigned long long* to = sums + int64_t{chunk_ids[i]} * limbs * columns + column;
#pragma unroll
                for (int limb = 0; limb < limbs; limb++) {
                    atomicAdd(to + limb * columns, static_cast<unsigned long long>(mine[limb]));
                    mine[limb] = 0;
                }
            }
        }
    }
}

__global__ void mean_kernel(
        const long long* sums,
        const int64_t* sizes,
        bool weighted,
        int64_t k,
        int64_t d,
        const double* scales,
        double limb_step,
        int limbs,
        double* weights,
        float* means) {
    const int64_t i = int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
    const int64_t columns = d + 1;
    if (i >= k * columns) {
        return;
    }
    const int64_t centroid = i / columns;
    const int64_t column = i % columns;
    const long long* row = sums + centroid * limbs * columns;
    const auto value = [&](int64_t at) {
        double total = 0;
        for (int limb = limbs - 1; limb >= 0; limb--) {
            total = total / limb_step + static_cast<double>(row[limb * columns + at]);
        }
        return total / scales[at];
    };
    const double weight = weighted ? value(d) : static_cast<double>(sizes[centroid]);
    if (column == d) {
        weights[centroid] = weight;
    } else {
        means[centroid * d + column] =
                weight == 0 ? 0.0f : static_cast<float>(value(column) / weight);
    }
}

} // namespace

CentroidUpdate::CentroidUpdate(
        const float* points, const float* weights, int64_t n, int64_t d, cudaStream_t stream)
    : points_(points),
      weights_(weights),
      n_(n),
      d_(d),
      scale_(static_cast<size_t>(columns()), stream) {
    const auto count = static_cast<size_t>(columns());
    ColumnRange range(columns());
    const Buffer<double> largest(count, stream);
    const Buffer<double> smallest(count, stream);
    copy(largest.get(), range.largest.data(), columns(), cudaMemcpyHostToDevice, stream);
    copy(smallest.get(), range.smallest.data(), columns(), cudaMemcpyHostToDevice, stream);
    const dim3 grid(
            static_cast<unsigned>(std::min<int64_t>(n, 2048)), blocks_of(columns(), kThreads));
    range_kernel<<<grid, kThreads, 0, stream>>>(
            points,
            weights,
            n,
            d,
            reinterpret_cast<unsigned long long*>(largest.get()),
            reinterpret_cast<unsigned long long*>(smallest.get()));
    check_launch("ranges of the columns");
    copy(range.largest.data(), largest.get(), columns(), cudaMemcpyDeviceToHost, stream);
    copy(range.smallest.data(), smallest.get(), columns(), cudaMemcpyDeviceToHost, stream);
    check(cudaStreamSynchronize(stream), "waiting for the ranges");
    format_ = FixedPoint::plan(range, n);
    copy(scale_.get(), format_.scale.data(), columns(), cudaMemcpyHostToDevice, stream);
}

void CentroidUpdate::run(
        const int32_t* ids, int64_t k, const Output& output, cudaStream_t stream) const {
    const auto count = static_cast<size_t>(n_);
    const Buffer<int32_t> numbers(count, stream);
    const Buffer<int32_t> order(count, stream);
    const Buffer<int32_t> sorted(count, stream);
    check(cudaMemsetAsync(output.sizes, 0, static_cast<size_t>(k) * sizeof(int64_t), stream),
          "clearing the sizes");
    number_kernel<<<blocks_of(n_, 256), 256, 0, stream>>>(numbers.get(), n_, ids, output.sizes);
    check_launch("counting the points of clusters");
    int bits = 1; // that an id takes
    while ((int64_t{1} << bits) < k) {
        bits++;
    }
    size_t workspace = 0;
    const auto sort = [&](void* memory) {
        check(cub::DeviceRadixSort::SortPairs(
                      memory,
                      workspace,
                      ids,
                      sorted.get(),
                      numbers.get(),
                      order.get(),
                      static_cast<int>(n_),
                      0,
                      bits,
                      stream),
              "sorting the points by cluster");
    };
    sort(nullptr);
    const Buffer<uint8_t> memory(workspace, stream);
    sort(memory.get());

    const auto sum_count = static_cast<size_t>(k * format_.limbs * columns());
    const Buffer<unsigned long long> sums(sum_count, stream);
    check(cudaMemsetAsync(sums.get(), 0, sum_count * 8, stream), "clearing the sums");
    const auto kernel = format_.limbs == 1   ? sum_kernel<1>
                        : format_.limbs == 2 ? sum_kernel<2>
                                             : sum_kernel<0>;
    kernel<<<blocks_of(n_, kChunk), kThreads, 0, stream>>>(
            points_,
            weights_,
            sorted.get(),
            order.get(),
            n_,
            d_,
            scale_.get(),
            format_.limb_step,
            format_.limbs,
            sums.get());
    check_launch("summing the clusters");
    mean_kernel<<<blocks_of(k * columns(), 256), 256, 0, stream>>>(
            reinterpret_cast<const long long*>(sums.get()),
            output.sizes,
            weights_ != nullptr,
            k,
            d_,
            scale_.get(),
            format_.limb_step,
            format_.limbs,
            output.weights,
            output.means);
    check_launch("means of the clusters");
}

} // namespace faiss_flash::cuda
