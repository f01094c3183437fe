// Compiled without contraction: terms are rounded as the CPU backend rounds them.
//
// Budget: see sort.cu and sums.cuh; K (d + 1) limbs 8 bytes of sums are read and cleared once.
//
// 1. The points that moved are found; where they are many, all points are taken.
// 2. They are sorted by cluster.
// 3. Rows are gathered in that order and summed up in integers.
// 4. Sums become means in float64, rounded once.
#include <faiss_flash/core/points.h>
#include <faiss_flash/cuda/device_info.h>
#include <faiss_flash/cuda/runtime/check.h>
#include <faiss_flash/cuda/runtime/copy.h>
#include <faiss_flash/cuda/update/means.h>
#include <faiss_flash/cuda/update/squares.h>
#include <faiss_flash/cuda/update/update.h>
#include <faiss_flash/cuda/update/elements.cuh>
#include <faiss_flash/cuda/update/sums.cuh>

#include <algorithm>
#include <cmath>
#include <vector>

namespace faiss_flash::cuda {

namespace {

constexpr int kThreads = 128;
constexpr int kChunk = 128;    // points of a block of the general kernel
constexpr int kUpperBits = 22; // what float32 rounds to an integer by an addition
constexpr int kMostRun = 64;   // points of a group of lanes: pieces add up in 32 bits
constexpr int kSingles = 4;    // columns of a lane where rows are not read in vectors

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
    const int64_t column = int64_t{blockIdx.y} * kThreads + threadIdx.x;
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

/// The same as sum_kernel() for weights, and for values that float32 arithmetic cannot cut: a
/// thread sums a column in float64 and integers.
template <class Element>
__global__ void general_sum_kernel(
        const SumArguments arguments, const float* weights, const double* units) {
    __shared__ int2 order[kChunk];
    __shared__ float chunk_weights[kChunk];
    const auto problem = static_cast<int32_t>(blockIdx.z);
    const int64_t first_point = int64_t{problem} * arguments.entries.n;
    const int64_t first_cluster = int64_t{problem} * arguments.entries.k;
    const int first = static_cast<int>(blockIdx.x) * kChunk;
    const int count = min(kChunk, arguments.entries.count(problem) - first);
    for (int i = static_cast<int>(threadIdx.x); i < count; i += kThreads) {
        const int2 entry = arguments.order[first_point + first + i];
        const int64_t point = first_point + (entry.x & ~Entries::kTaken);
        order[i] = entry;
        chunk_weights[i] = (entry.x < 0 ? -1.0f : 1.0f) * (weights ? weights[point] : 1.0f);
    }
    __syncthreads();
    const int places = arguments.layout.places;
    const int last = weights ? places : places - 1;
    for (int place = static_cast<int>(threadIdx.x); place < last; place += kThreads) {
        const double scale = 1 / units[problem * (arguments.d + 1) + place];
        long long mine[FixedPoint::kMaxLimbs] = {};
        long long gained = 0;
        for (int i = 0; i < count; i++) {
            const int64_t point = first_point + (order[i].x & ~Entries::kTaken);
            const auto* row =
                    reinterpret_cast<const Element*>(arguments.rows + point * arguments.row_bytes);
            const float x = place < arguments.d ? static_cast<float>(row[place]) : 1.0f;
            gained += order[i].x < 0 ? -1 : 1;
            double rest = double{chunk_weights[i]} * double{x} * scale;
            for (int limb = 0; limb < arguments.limbs; limb++) {
                const double shifted = rest + FixedPoint::kRoundMagic;
                mine[limb] += __double_as_longlong(shifted) -
                              __double_as_longlong(FixedPoint::kRoundMagic);
                rest = (rest - (shifted - FixedPoint::kRoundMagic)) * arguments.limb_step;
            }
            const int cluster = order[i].y;
            if (i + 1 == count || order[i + 1].y != cluster) {
                unsigned long long* to = arguments.sums +
                                         (first_cluster + cluster) * arguments.limbs * places +
                                         place;
                for (int limb = 0; limb < arguments.limbs; limb++) {
                    atomicAdd(to + limb * places, static_cast<unsigned long long>(mine[limb]));
                    mine[limb] = 0;
                }
                if (place == 0) {
                    atomicAdd(
                            arguments.counts + first_cluster + cluster,
                            static_cast<unsigned long long>(gained));
                }
                gained = 0;
            }
        }
    }
}

/// Zeros for problems whose points are all entries.
__global__ void clear_kernel(
        const Entries entries,
        unsigned long long* sums,
        int64_t sums_a_problem,
        unsigned long long* counts) {
    const auto problem = static_cast<int32_t>(blockIdx.y);
    if (!entries.all(problem)) {
        return;
    }
    const int64_t first = int64_t{blockIdx.x} * kThreads + threadIdx.x;
    const int64_t step = int64_t{gridDim.x} * kThreads;
    for (int64_t i = first; i < sums_a_problem; i += step) {
        sums[problem * sums_a_problem + i] = 0;
    }
    for (int64_t i = first; i < entries.k; i += step) {
        counts[int64_t{problem} * entries.k + i] = 0;
    }
}

/// True where pieces of every column's values are exact as float32: none is subnormal or infinite.
/// The last of `columns` are the weights'.
bool fits_float(const FixedPoint& format, const ColumnRange& range, int64_t columns) {
    for (int64_t j = 0; j + 1 < columns; j++) {
        const auto column = static_cast<size_t>(j);
        const int power = std::ilogb(format.scale[column]) + kUpperBits - format.limb_bits;
        const int lowest = range.largest[column] > 0 ? std::ilogb(range.smallest[column]) - 23 : 0;
        if (power > 126 || power < -126 || lowest + power < -126) {
            return false;
        }
    }
    return true;
}

} // namespace

CentroidUpdate::CentroidUpdate(
        const UpdateRows& rows, const float* weights, DoubleDouble* squares, cudaStream_t stream)
    : rows_(rows),
      weights_(weights),
      units_(static_cast<size_t>(rows.batch * (rows.d + 1)), stream),
      scale_(static_cast<size_t>(rows.batch * (rows.d + 1)), stream) {
    plan(squares, stream);
}

std::vector<ColumnRange> CentroidUpdate::find_ranges(cudaStream_t stream) const {
    const int64_t columns = rows_.d + 1; // the last one sums the weights
    // All of a binary16, whatever the data, where one limb holds it: nothing to wait for.
    ColumnRange half(columns);
    std::fill(half.largest.begin(), half.largest.end(), 65504.0);
    std::fill(half.smallest.begin(), half.smallest.end(), 0x1p-1); // 2^-24 is its last bit
    const auto batch = static_cast<size_t>(rows_.batch);
    if (rows_.dtype == DType::f16 && FixedPoint::plan(half, rows_.n).limbs == 1) {
        return std::vector<ColumnRange>(batch, half);
    }
    ColumnRange all(rows_.batch * columns);
    const Buffer<double> largest(all.largest.size(), stream);
    const Buffer<double> smallest(all.largest.size(), stream);
    const int64_t count = rows_.batch * columns;
    copy(largest.get(), all.largest.data(), count, cudaMemcpyHostToDevice, stream);
    copy(smallest.get(), all.smallest.data(), count, cudaMemcpyHostToDevice, stream);
    const dim3 grid(
            static_cast<unsigned>(std::min<int64_t>(rows_.n, 2048)),
            blocks_of(columns, kThreads),
            static_cast<unsigned>(rows_.batch));
    with_element(rows_.dtype, [&](auto element) {
        range_kernel<decltype(element)><<<grid, kThreads, 0, stream>>>(
                static_cast<const uint8_t*>(rows_.data),
                rows_.row_bytes,
                weights_,
                rows_.n,
                rows_.d,
                reinterpret_cast<unsigned long long*>(largest.get()),
                reinterpret_cast<unsigned long long*>(smallest.get()));
    });
    check_launch("ranges of the columns");
    copy(all.largest.data(), largest.get(), count, cudaMemcpyDeviceToHost, stream);
    copy(all.smallest.data(), smallest.get(), count, cudaMemcpyDeviceToHost, stream);
    check(cudaStreamSynchronize(stream), "waiting for the ranges");
    // A value's last bit lies closer to its first than in a float32.
    const int fewer = rows_.dtype == DType::f16 ? 13 : rows_.dtype == DType::bf16 ? 16 : 0;
    std::vector<ColumnRange> ranges(batch, ColumnRange(columns));
    for (int64_t i = 0; i < count; i++) {
        ColumnRange& range = ranges[static_cast<size_t>(i / columns)];
        const auto column = static_cast<size_t>(i % columns);
        range.largest[column] = all.largest[static_cast<size_t>(i)];
        range.smallest[column] = std::ldexp(all.smallest[static_cast<size_t>(i)], fewer);
    }
    return ranges;
}

void CentroidUpdate::plan(DoubleDouble* squares, cudaStream_t stream) {
    const int64_t columns = rows_.d + 1;
    in_float_ = !weights_;
    std::vector<double> units;
    std::vector<float> scale;
    // Each problem's scales are its own, so that its means have the bits that they have alone;
    // limbs that only others need are zeros.
    const std::vector<ColumnRange> ranges = find_ranges(stream);
    if (squares) {
        sum_squares(rows_, ranges, squares, stream);
    }
    for (const ColumnRange& range : ranges) {
        const FixedPoint format = FixedPoint::plan(range, rows_.n);
        const auto weights_column = range.largest.end() - 1;
        largest_ = std::max(largest_, *std::max_element(range.largest.begin(), weights_column));
        limbs_ = std::max(limbs_, format.limbs);
        limb_bits_ = format.limb_bits; // follows from n
        in_float_ = in_float_ && fits_float(format, range, columns);
        for (const double factor : format.scale) {
            units.push_back(1 / factor);
            scale.push_back(static_cast<float>(std::ldexp(factor, kUpperBits - format.limb_bits)));
        }
    }
    copy(units_.get(), units.data(), rows_.batch * columns, cudaMemcpyHostToDevice, stream);
    copy(scale_.get(), scale.data(), rows_.batch * columns, cudaMemcpyHostToDevice, stream);

    int64_t vector = 16 / dtype_size(rows_.dtype);
    vectors_ = rows_.d % vector == 0 && rows_.row_bytes % 16 == 0 &&
               reinterpret_cast<uintptr_t>(rows_.data) % 16 == 0;
    if (!vectors_) {
        vector = kSingles;
    }
    layout_ = SumLayout(rows_.d, in_float_ ? vector : 1);
}

int64_t CentroidUpdate::bytes(int64_t batch, int64_t n, int64_t d, int64_t k, int limbs) {
    const int64_t places = std::max(SumLayout(d, kSingles).places, SumLayout(d, 8).places);
    const int64_t entries = bytes_of([&](Arena& arena) {
        EntryOrder(batch, n, k, arena);
        if (!EntryOrder::is_short(n, k)) {
            MovedPoints(batch, n, k, arena);
        }
    });
    return batch * ((d + 1) * 12 + k * (limbs * places + 1) * 8) + entries;
}

void CentroidUpdate::reserve(int64_t k, cudaStream_t stream) {
    if (k == k_) {
        return;
    }
    keeps_ = !EntryOrder::is_short(rows_.n, k);
    const auto make = [&](Arena& arena) {
        order_ = EntryOrder(rows_.batch, rows_.n, k, arena);
        if (keeps_) {
            moved_ = MovedPoints(rows_.batch, rows_.n, k, arena);
        }
    };
    arena_ = Arena(bytes_of(make), stream);
    make(arena_);
    if (keeps_) {
        moved_.forget(stream);
    }
    const auto clusters = static_cast<size_t>(rows_.batch * k);
    const size_t count = clusters * static_cast<size_t>(limbs_ * layout_.places);
    sums_ = Buffer<unsigned long long>(count, stream);
    counts_ = Buffer<unsigned long long>(clusters, stream);
    check(cudaMemsetAsync(sums_.get(), 0, count * 8, stream), "clearing the sums");
    check(cudaMemsetAsync(counts_.get(), 0, clusters * 8, stream), "clearing the counts");
    k_ = k;
}

void CentroidUpdate::sum(const Entries& entries, cudaStream_t stream) {
    SumArguments arguments{};
    arguments.rows = static_cast<const uint8_t*>(rows_.data);
    arguments.row_bytes = rows_.row_bytes;
    arguments.entries = entries;
    arguments.order = order_.get();
    arguments.d = static_cast<int>(rows_.d);
    arguments.layout = layout_;
    arguments.scale = scale_.get();
    arguments.lower_bits = limb_bits_ - kUpperBits;
    arguments.limbs = limbs_;
    arguments.limb_step = std::ldexp(1.0, limb_bits_);
    arguments.sums = sums_.get();
    arguments.counts = counts_.get();
    const auto batch = static_cast<unsigned>(rows_.batch);
    with_element(rows_.dtype, [&](auto element) {
        using Element = decltype(element);
        if (!in_float_) {
            const dim3 grid(blocks_of(rows_.n, kChunk), 1, batch);
            general_sum_kernel<Element>
                    <<<grid, kThreads, 0, stream>>>(arguments, weights_, units_.get());
            return;
        }
        constexpr int kVector = 16 / sizeof(Element);
        const int groups = kSumThreads / layout_.lanes();
        const unsigned slices = blocks_of(rows_.d, layout_.slice());
        // Shorter runs where longer ones would leave processors idle.
        int run = std::min(kMostRun, kMostSumEntries / groups);
        const int64_t wanted = int64_t{16} * device_info().multiprocessors;
        while (run > kSumBatch &&
               rows_.batch * slices * blocks_of(rows_.n, groups * run) < wanted) {
            run /= 2;
        }
        arguments.chunk = groups * run;
        const dim3 grid(blocks_of(rows_.n, arguments.chunk), slices, batch);
        const bool rests = limbs_ > 1;
        const auto kernel = vectors_ ? rests ? sum_kernel<Element, kVector, true, true>
                                             : sum_kernel<Element, kVector, true, false>
                            : rests ? sum_kernel<Element, kSingles, false, true>
                                     : sum_kernel<Element, kSingles, false, false>;
        kernel<<<grid, kSumThreads, 0, stream>>>(arguments);
    });
    check_launch("summing the clusters");
}

void CentroidUpdate::run(
        const int32_t* ids,
        IterationCounts* counts,
        const Output& output,
        const Gains& gains,
        cudaStream_t stream) {
    const int64_t clusters = rows_.batch * k_;
    Entries entries{};
    entries.ids = ids;
    entries.n = static_cast<int32_t>(rows_.n);
    entries.k = static_cast<int32_t>(k_);
    if (keeps_) {
        entries = moved_.find(ids, counts, stream);
        const int64_t sums = k_ * limbs_ * layout_.places;
        const dim3 grid(
                std::min(blocks_of(sums, kThreads), 2048u), static_cast<unsigned>(rows_.batch));
        clear_kernel<<<grid, kThreads, 0, stream>>>(entries, sums_.get(), sums, counts_.get());
        check_launch("clearing the sums");
    }
    order_.run(entries, counts, stream);
    sum(entries, stream);
    MeanArguments arguments{};
    arguments.sums = reinterpret_cast<long long*>(sums_.get());
    arguments.counts = counts_.get();
    arguments.keep = keeps_;
    arguments.weighted = weights_ != nullptr;
    arguments.clusters = clusters;
    arguments.k = k_;
    arguments.d = static_cast<int>(rows_.d);
    arguments.layout = layout_;
    arguments.units = units_.get();
    arguments.limb_unit = 1 / std::ldexp(1.0, limb_bits_);
    arguments.limbs = limbs_;
    arguments.output = output;
    arguments.gains = gains;
    find_means(arguments, stream);
}

} // namespace faiss_flash::cuda
