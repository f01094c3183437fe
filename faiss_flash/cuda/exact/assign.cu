#include <faiss_flash/cuda/device_info.h>
#include <faiss_flash/cuda/exact/assign.h>
#include <faiss_flash/cuda/runtime/check.h>
#include <faiss_flash/cuda/exact/bounds.cuh>
#include <faiss_flash/cuda/exact/row_size.cuh>
#include <faiss_flash/cuda/scaling.cuh>

#include <cub/block/block_scan.cuh>

#include <algorithm>
#include <new>

namespace faiss_flash::cuda {

namespace {

constexpr int kThreads = 256;
constexpr int kThreadRows = 4;
constexpr int kBlocks = 6; // of a multiprocessor

struct CertifyArguments {
    AssignOutput first_pass; ///< best becomes the bar of an open row
    const uint32_t* sizes;
    const float* reference;
    const CentroidBounds* bounds;
    const float* errors; ///< null: not part of the scores
    const float* point_scale;
    const float* mean_length;
    int64_t n, k, d;
    bool l2;
    OpenRows open;
};

/// What the certificates of all rows have in common: it takes long to make. Float32, rounded up,
/// does for bounds; in float64 they would take longer than the memory.
struct ErrorTerms {
    Float64Error float64;
    float length, residual, bias;   ///< of centroids
    float sum_error;                ///< of a product of lengths
    float per_length, per_residual; ///< of the reference
    float largest;                  ///< of a row within the reference
    float folded;                   ///< of a row's length, with folded biases

    __device__ explicit ErrorTerms(const CertifyArguments& arguments)
        : float64(arguments.d,
                  arguments.l2,
                  *arguments.point_scale,
                  scale_of(arguments.bounds->largest),
                  *arguments.mean_length),
          length(arguments.bounds->length),
          residual(arguments.bounds->residual),
          bias(arguments.bounds->bias) {
        const double sums = (static_cast<double>(arguments.d) / 16 + kEpilogueSteps) * kStepError;
        const double rounded_length = double{length} + double{residual};
        const float* reference = arguments.reference;
        sum_error = round_up(sums);
        per_length = round_up(1 / double{reference[0]});
        per_residual = round_up(1 / double{reference[1]});
        largest = round_up(
                score_error(reference, arguments.d, length, residual, rounded_length, bias));
        folded = round_up(residual + 2.02 * sums * rounded_length); // its reach is part of the sum
    }

    /// What the score of a centroid must beat others by, for a row. own: its errors[], null with
    /// folded biases.
    __device__ float operator()(const RowSize& row, const float* own) const {
        constexpr float kUp = 1 + 0x1p-18f; // of some twenty roundings, each 2^-24
        const float error =
                2 * (float64(row.length + row.residual, length) + static_cast<float>(kLeastError));
        if (!own) {
            const float sums = row.length * folded + row.residual * length + sum_error * bias;
            return (error + 2 * sums) * kUp;
        }
        const float factor = larger(row.length * per_length, row.residual * per_residual);
        // A part of the errors that the row's length has no share in does not shrink with it.
        const float beyond = factor < 1 ? (1 - factor) * sum_error * bias : (factor - 1) * largest;
        return (error + (factor + 1) * *own + beyond + factor * 0x1p-20f * largest) * kUp;
    }
};

/// Lists the points whose best score may not be the best, with what others must reach.
__global__ void __launch_bounds__(kThreads, kBlocks)
        certify_kernel(const CertifyArguments arguments) {
    using Scan = cub::BlockScan<int, kThreads>;
    __shared__ typename Scan::TempStorage scan_storage;
    __shared__ alignas(ErrorTerms) uint8_t storage[sizeof(ErrorTerms)];
    __shared__ int32_t first;
    const auto* error_of = reinterpret_cast<const ErrorTerms*>(storage);
    if (threadIdx.x == 0) {
        new (storage) ErrorTerms(arguments);
    }
    __syncthreads();
    constexpr int kBlockRows = kThreads * kThreadRows;
    for (int64_t begin = int64_t{blockIdx.x} * kBlockRows; begin < arguments.n;
         begin += int64_t{gridDim.x} * kBlockRows) {
        const auto row_of = [&](int r) { return begin + r * kThreads + threadIdx.x; };
        bool open[kThreadRows];
        int mine = 0;
#pragma unroll
        for (int r = 0; r < kThreadRows; r++) {
            const int64_t row = min(row_of(r), arguments.n - 1);
            const int32_t id = arguments.first_pass.ids[row];
            const bool valid = id >= 0 && id < arguments.k;
            const float* own =
                    arguments.errors ? valid ? arguments.errors + id : &error_of->largest : nullptr;
            const float bar = __fsub_rd(
                    arguments.first_pass.best[row],
                    (*error_of)(row_size(arguments.sizes[row]), own));
            // Written so that a NaN anywhere leaves the point open.
            open[r] = row_of(r) < arguments.n && !(arguments.first_pass.second[row] < bar);
            if (open[r]) {
                arguments.first_pass.best[row] = bar;
            }
            mine += open[r];
        }
        int before = 0;
        int all = 0;
        Scan(scan_storage).ExclusiveSum(mine, before, all);
        if (threadIdx.x == 0 && all > 0) {
            first = atomicAdd(arguments.open.count, all);
        }
        __syncthreads();
#pragma unroll
        for (int r = 0; r < kThreadRows; r++) {
            if (open[r]) {
                arguments.open.rows[first + before++] = static_cast<int32_t>(row_of(r));
            }
        }
    }
}

__global__ void count_kernel(const FoundCounts* found, RestRows rest, IterationCounts* counts) {
    counts->redone += found->open;
    counts->decided += found->decided + rest.count();
}

} // namespace

ExactWorkspace::ExactWorkspace(int64_t n, int64_t d, int64_t k, Metric metric, Arena& arena)
    // Centred biases of products are of either sign: no distances of one sign to fold.
    : table(1, k, d, false, metric, arena, metric == Metric::l2),
      bounds(arena.take<CentroidBounds>(1)),
      bias(arena.take<float>(k)),
      errors(arena.take<float>(k)),
      found(arena.take<FoundCounts>(1)) {
    const Arena::Steps steps(arena);
    {
        const Arena::Turn turn(arena);
        duplicates = DuplicateTable(k, arena);
    }
    open_rows = arena.take<int32_t>(n);
    {
        const Arena::Turn turn(arena);
        best = arena.take<float>(n);
        {
            const Arena::Turn pass(arena);
            second = arena.take<float>(n);
            first_pass = AssignWorkspace({1, n, k, d, true, 16, table.folds}, arena);
        }
        candidates = CandidateWorkspace(n, d, k, table.folds, arena);
    }
    rest = RestWorkspace(n, arena);
}

int64_t listing_passes(const ExactWorkspace& workspace, int64_t n, int64_t expected) {
    return listing_passes(workspace.candidates, n, expected);
}

void assign_exact(
        const DevicePoints& points,
        const float* centroids,
        ExactWorkspace& workspace,
        const AssignmentArrays& output,
        std::optional<int64_t> expected,
        cudaStream_t stream) {
    TensorCentroids& table = workspace.table;
    const int64_t n = points.n();
    const int64_t d = points.d();
    Centring centring;
    centring.mean = points.mean();
    centring.point_scale = points.scale();
    centring.reference = points.reference();
    centring.bounds = workspace.bounds;
    centring.bias = workspace.bias;
    centring.errors = workspace.errors;
    prepare_centred(centroids, centring, workspace.duplicates, table, stream);

    FoundCounts* found = workspace.found;
    check(cudaMemsetAsync(found, 0, sizeof(FoundCounts), stream), "clearing counters");
    const AssignOutput first_pass{workspace.best, workspace.second, output.ids};
    find_best(points.tensor(), table, first_pass, workspace.first_pass, stream);
    CertifyArguments arguments{};
    arguments.first_pass = first_pass;
    arguments.sizes = points.sizes();
    arguments.reference = points.reference();
    arguments.bounds = workspace.bounds;
    arguments.errors = table.folds ? nullptr : workspace.errors;
    arguments.point_scale = points.scale();
    arguments.mean_length = points.mean_length();
    arguments.n = n;
    arguments.k = table.k;
    arguments.d = d;
    arguments.l2 = table.metric == Metric::l2;
    arguments.open = {workspace.open_rows, &found->open};
    const unsigned blocks = std::min(
            blocks_of(n, kThreads * kThreadRows),
            static_cast<unsigned>(kBlocks * device_info().multiprocessors));
    certify_kernel<<<blocks, kThreads, 0, stream>>>(arguments);
    check_launch("certifying an assignment");

    RestRows rest{arguments.open, 0, &found->moved};
    const ExactCentroids exact{centroids, workspace.bias, workspace.bounds, table.k, table.metric};
    decide_candidates(
            points,
            table,
            exact,
            workspace.best,
            expected,
            workspace.candidates,
            {output.ids, &found->decided},
            rest,
            stream);
    decide_rest(points, exact, rest, output.ids, workspace.rest, stream);
    count_kernel<<<1, 1, 0, stream>>>(found, rest, output.counts);
    check_launch("counting open points");
    if (output.values) {
        measure(points.rows(), centroids, table.k, table.metric, output.ids, output.values, stream);
    }
}

} // namespace faiss_flash::cuda
