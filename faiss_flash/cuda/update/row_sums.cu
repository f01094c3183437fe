// Compiled without contraction: terms are rounded as the CPU backend rounds them.
//
// Budget: the rows once; an atomic addition of 8 bytes for a limb of a value that is not 0, in L2.
// One kernel, bound by its start and one way to memory and back.
//
// 1. A group of lanes takes a few rows that lie side by side, 16 bytes of a row a lane.
// 2. Values are cut into limbs in float64. Where the next of these rows is of the same cluster, a
//    limb is added to its; else to the cluster's sum: neighbouring lanes to neighbouring places.
#include <faiss_flash/cuda/runtime/check.h>
#include <faiss_flash/cuda/update/row_sums.h>
#include <faiss_flash/cuda/update/sort.h>
#include <faiss_flash/cuda/row_part.cuh>
#include <faiss_flash/cuda/update/invalid_ids.cuh>
#include <faiss_flash/cuda/update/limb.cuh>

namespace faiss_flash::cuda {

namespace {

constexpr int kThreads = 128;
constexpr int kRows = 4; // of a group of lanes, on their way together
constexpr int64_t kMostValues = int64_t{1} << 22;
constexpr int64_t kMostOfCluster = 512; // rows on average: their additions wait for each other

struct RowSumArguments {
    const uint8_t* rows;
    int64_t row_bytes;
    const float* weights;
    const int32_t* ids;
    int32_t n, k;
    int d;
    SumLayout layout;
    const double* scales; ///< [batch x (d + 1)] of the first limb
    double limb_step;
    int limbs;
    unsigned long long* sums;
    unsigned long long* sizes; ///< [batch x k]
    IterationCounts* counts;   ///< [batch]
};

template <class Element, int kVector, bool kVectors>
__global__ void __launch_bounds__(kThreads) row_sum_kernel(const RowSumArguments arguments) {
    const SumLayout& layout = arguments.layout;
    const int lanes = layout.lanes();
    const int lane = static_cast<int>(threadIdx.x) % lanes;
    const int slice = static_cast<int>(blockIdx.y) * layout.slice();
    const int column = slice + lane * kVector;
    const int32_t group = static_cast<int32_t>(blockIdx.x * kThreads + threadIdx.x) / lanes;
    const int32_t begin = group * kRows;
    const int32_t count = min(kRows, arguments.n - begin);
    if (column >= arguments.d || count <= 0) {
        return;
    }
    const int64_t problem = blockIdx.z;
    RowPart<Element, kVector, kVectors> parts[kRows];
    float weights[kRows];
    int32_t found[kRows];
#pragma unroll
    for (int r = 0; r < kRows; r++) { // the last one again, weighing nothing, where there are fewer
        const int64_t row = problem * arguments.n + begin + min(r, count - 1);
        parts[r].load(arguments.rows + row * arguments.row_bytes, column, arguments.d);
        found[r] = arguments.ids[row];
        weights[r] = r >= count ? 0.0f : arguments.weights ? arguments.weights[row] : 1.0f;
    }
    // All loads are before the first addition, which they cannot pass.
    const double* scales = arguments.scales + problem * (arguments.d + 1);
    double scale[kVector];
#pragma unroll
    for (int v = 0; v < kVector; v++) {
        scale[v] = kVectors || column + v < arguments.d ? scales[column + v] : 1.0;
    }
    const int64_t first_cluster = problem * arguments.k;
    int32_t clusters[kRows];
    unsigned long long* sums[kRows]; // of these
#pragma unroll
    for (int r = 0; r < kRows; r++) {
        clusters[r] = as_index(found[r], arguments.k);
        sums[r] = arguments.sums + (first_cluster + clusters[r]) * arguments.limbs * layout.places;
    }
    const auto is_last = [&](int r) { return r + 1 == kRows || clusters[r + 1] != clusters[r]; };
    /// Adds a column's value(r) of every row.
    const auto add = [&](double of_first_limb, int place, const auto& value) {
        double rests[kRows];
#pragma unroll
        for (int r = 0; r < kRows; r++) {
            rests[r] = double{weights[r]} * double{value(r)} * of_first_limb;
        }
        for (int limb = 0; limb < arguments.limbs; limb++) {
            long long sum = 0;
#pragma unroll
            for (int r = 0; r < kRows; r++) {
                sum += take_limb(rests[r], arguments.limb_step);
                if (is_last(r) && sum != 0) {
                    atomicAdd(
                            sums[r] + limb * layout.places + place,
                            static_cast<unsigned long long>(sum));
                }
                sum = is_last(r) ? 0 : sum;
            }
        }
    };
#pragma unroll
    for (int v = 0; v < kVector; v++) {
        if (kVectors || column + v < arguments.d) {
            add(scale[v], slice + lane + v * lanes, [&](int r) { return parts[r].value(v); });
        }
    }
    if (column > 0) {
        return;
    }
    if (arguments.weights) {
        add(scales[arguments.d], layout.places - 1, [](int /*r*/) { return 1.0f; });
    }
    int32_t points = 0;
    int32_t invalid = 0;
#pragma unroll
    for (int r = 0; r < kRows; r++) {
        points += r < count;
        invalid += r < count && clusters[r] != found[r];
        if (is_last(r)) {
            atomicAdd(
                    arguments.sizes + first_cluster + clusters[r],
                    static_cast<unsigned long long>(points));
            points = 0;
        }
    }
    count_invalid(arguments.counts + problem, invalid);
}

} // namespace

bool are_few(const DeviceRows& rows, int64_t k) {
    return EntryOrder::is_short(rows.n, k) && rows.n <= kMostOfCluster * k &&
           rows.batch * rows.n * rows.d <= kMostValues;
}

void add_rows(
        const DeviceRows& rows,
        const float* weights,
        const int32_t* ids,
        const SumFormat& format,
        int64_t* sums,
        cudaStream_t stream) {
    RowSumArguments arguments{};
    arguments.rows = static_cast<const uint8_t*>(rows.data);
    arguments.row_bytes = rows.row_bytes;
    arguments.weights = weights;
    arguments.ids = ids;
    arguments.n = static_cast<int32_t>(rows.n);
    arguments.k = static_cast<int32_t>(format.workload.k);
    arguments.d = static_cast<int>(rows.d);
    arguments.layout = format.layout;
    arguments.scales = format.scales;
    arguments.limb_step = format.limb_step;
    arguments.limbs = format.limbs;
    arguments.sums = reinterpret_cast<unsigned long long*>(sums);
    arguments.sizes = arguments.sums + format.sums.sizes();
    arguments.counts = reinterpret_cast<IterationCounts*>(sums + format.sums.counts());
    const dim3 grid(
            blocks_of(rows.n, kThreads / format.layout.lanes() * kRows),
            blocks_of(rows.d, format.layout.slice()),
            static_cast<unsigned>(rows.batch));
    with_row_part(rows, [&](auto element, auto columns, auto vectors) {
        row_sum_kernel<decltype(element), columns, vectors>
                <<<grid, kThreads, 0, stream>>>(arguments);
    });
    check_launch("adding rows to their clusters");
}

} // namespace faiss_flash::cuda
