#include <faiss_flash/cuda/assign/assign.h>
#include <faiss_flash/cuda/exact/assign.h>
#include <faiss_flash/cuda/exact/decide.h>
#include <faiss_flash/cuda/exact/split.h>
#include <faiss_flash/cuda/runtime/check.h>
#include <faiss_flash/cuda/exact/bounds.cuh>
#include <faiss_flash/cuda/exact/scaling.cuh>

#include <algorithm>
#include <new>

namespace faiss_flash::cuda {

namespace {

constexpr int kThreads = 256;

struct CertifyArguments {
    const float* best;
    const float* second;
    const int32_t* ids;
    const float* lengths;
    const float* residuals;
    const float* reference;
    const CentroidBounds* bounds;
    const float* errors; ///< null: not part of the scores
    const float* point_scale;
    const float* mean_length;
    int64_t n, k, d;
    bool l2;
    int32_t* open;
    int32_t* open_count;
};

/// Lists the points whose best score may not be the best.
__global__ void certify_kernel(const CertifyArguments arguments) {
    const CentroidBounds& bounds = *arguments.bounds;
    __shared__ alignas(Float64Error) uint8_t storage[sizeof(Float64Error)]; // takes long to make
    const auto* float64_error = reinterpret_cast<const Float64Error*>(storage);
    if (threadIdx.x == 0) {
        new (storage) Float64Error(
                arguments.d,
                arguments.l2,
                *arguments.point_scale,
                scale_of(bounds.largest),
                *arguments.mean_length);
    }
    __syncthreads();
    const int64_t row = int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
    if (row >= arguments.n) {
        return;
    }
    const double d = static_cast<double>(arguments.d);
    const double sum_error = (d / 16 + kEpilogueSteps) * kStepError;
    const double length = arguments.lengths[row];
    const double residual = arguments.residuals[row];
    const double rounded_length = double{bounds.length} + double{bounds.residual};
    double error = 2 * ((*float64_error)(length + residual, bounds.length) + kLeastError);
    if (arguments.errors) {
        const double reference = arguments.reference[0];
        const double residual_reference = arguments.reference[1];
        const double largest = reference * bounds.residual + residual_reference * bounds.length +
                               sum_error * (reference * rounded_length + bounds.bias);
        const double factor =
                larger(excess(length, reference), excess(residual, residual_reference));
        const int32_t id = arguments.ids[row];
        const double own = id >= 0 && id < arguments.k ? arguments.errors[id] : largest;
        error += (factor + 1) * own + (factor - 1) * largest;
    } else {
        // With folded biases a row's reach is part of the sum as well.
        constexpr double kProducts = 2.02;
        const double magnitude = kProducts * length * rounded_length + double{bounds.bias};
        error += 2 * (length * bounds.residual + residual * bounds.length + sum_error * magnitude);
    }
    // Written so that a NaN anywhere leaves the point open.
    if (!(double{arguments.best[row]} - double{arguments.second[row]} > error)) {
        arguments.open[atomicAdd(arguments.open_count, 1)] = static_cast<int32_t>(row);
    }
}

/// What is open before the second pass and before the third.
__global__ void start_kernel(int32_t first, int32_t* open_count) {
    open_count[0] = first;
    open_count[1] = 0;
}

__global__ void count_kernel(const int32_t* open_count, IterationCounts* counts) {
    counts->redone += open_count[0];
    counts->decided += open_count[1];
}

} // namespace

int64_t exact_bytes(int64_t n, int64_t d, int64_t k) {
    const int64_t table = CentroidTable::bytes(1, k, d) + 8 * k;
    const int64_t lists = 8 * n;
    const int64_t first_pass = 8 * n + assign_bytes({1, n, k, d, true, 16, true});
    const int64_t later = 4 * k * padded_columns(d) + 12 * n + split_bytes(n, d, k);
    return table + lists + std::max(first_pass, later);
}

void assign_exact(
        const DevicePoints& points,
        const float* centroids,
        int64_t k,
        Metric metric,
        const ExactOutput& output,
        bool split_all,
        cudaStream_t stream) {
    const int64_t n = points.n();
    const int64_t d = points.d();
    const Buffer<CentroidBounds> bounds(1, stream);
    const Buffer<float> bias(static_cast<size_t>(k), stream);
    const Buffer<float> errors(static_cast<size_t>(k), stream);
    Centring centring;
    centring.mean = points.mean();
    centring.point_scale = points.scale();
    centring.reference = points.reference();
    centring.bounds = bounds.get();
    centring.bias = bias.get();
    centring.errors = errors.get();
    // Centred biases of products are of either sign: no distances of one sign to fold.
    CentroidTable table(1, k, d, false, metric, stream, metric == Metric::l2);
    prepare_centred(centroids, centring, table, stream);

    const auto count = static_cast<size_t>(n);
    const Buffer<int32_t> open(count, stream);
    const Buffer<int32_t> still_open(count, stream);
    const Buffer<int32_t> open_count(2, stream);
    start_kernel<<<1, 1, 0, stream>>>(split_all ? static_cast<int32_t>(n) : 0, open_count.get());
    check_launch("clearing counters");
    if (!split_all) {
        const Buffer<float> best(count, stream);
        const Buffer<float> second(count, stream);
        assign(points.tensor(), table, {best.get(), second.get(), output.ids}, stream);
        CertifyArguments arguments{};
        arguments.best = best.get();
        arguments.second = second.get();
        arguments.ids = output.ids;
        arguments.lengths = points.lengths();
        arguments.residuals = points.residuals();
        arguments.reference = points.reference();
        arguments.bounds = bounds.get();
        arguments.errors = table.folded.get() ? nullptr : errors.get();
        arguments.point_scale = points.scale();
        arguments.mean_length = points.mean_length();
        arguments.n = n;
        arguments.k = k;
        arguments.d = d;
        arguments.l2 = metric == Metric::l2;
        arguments.open = open.get();
        arguments.open_count = open_count.get();
        certify_kernel<<<blocks_of(n, kThreads), kThreads, 0, stream>>>(arguments);
        check_launch("certifying an assignment");
    }
    const OpenRows rows{split_all ? nullptr : open.get(), open_count.get()};
    const OpenRows rest{still_open.get(), open_count.get() + 1};
    const ScaledCentroids scaled(
            centroids, k, d, bias.get(), table.bias.get(), bounds.get(), metric, stream);
    const Buffer<double> decided_values(count, stream);
    const Buffer<int32_t> locks(count, stream);
    const Decisions decisions{decided_values.get(), locks.get()};
    assign_split(points, scaled, rows, output.ids, rest, decisions, stream);
    decide(points, scaled, rest, decisions, output.ids, stream);
    count_kernel<<<1, 1, 0, stream>>>(open_count.get(), output.counts);
    check_launch("counting open points");
    if (output.values) {
        measure(points.rows(), n, d, centroids, k, metric, output.ids, output.values, stream);
    }
}

} // namespace faiss_flash::cuda
