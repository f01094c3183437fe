// Compiled without contraction: means and gains have the CPU backend's bits.
//
// Budget: K d limbs 8 bytes once, K d 4 read and written.
#include <faiss_flash/cuda/runtime/check.h>
#include <faiss_flash/cuda/update/means.h>
#include <faiss_flash/cuda/update/fold.cuh>

namespace faiss_flash::cuda {

namespace {

constexpr int kThreads = 128;

struct MeanArguments {
    long long* sums;
    unsigned long long* counts;
    bool keep; ///< sums and counts for the next run; else they are cleared
    bool weighted, l2;
    int64_t clusters; ///< of all problems,
    int64_t k;        ///< and of one
    int d;
    SumLayout layout;
    const double* units; ///< [batch x (d + 1)]
    double limb_unit;
    int limbs;
    const float* centroids;
    ClusterMeans output;
};

/// One warp a cluster, whose lanes are the objective's (core/objective.h).
__global__ void mean_kernel(const MeanArguments arguments) {
    const int64_t cluster = (int64_t{blockIdx.x} * kThreads + threadIdx.x) / 32;
    const int lane = static_cast<int>(threadIdx.x) % 32;
    if (cluster >= arguments.clusters) {
        return;
    }
    const int d = arguments.d;
    const int64_t problem = cluster / arguments.k;
    const double* units = arguments.units + problem * (d + 1);
    const SumLayout& layout = arguments.layout;
    long long* row = arguments.sums + cluster * arguments.limbs * layout.places;
    // Factors are powers of two: as exact as the host's divisions.
    const auto value = [&](int place, int column) {
        double total = 0;
        for (int limb = arguments.limbs - 1; limb >= 0; limb--) {
            total = total * arguments.limb_unit +
                    static_cast<double>(row[limb * layout.places + place]);
        }
        return total * units[column];
    };
    const auto exact_value = [&](int place, int column) {
        DoubleDouble total = of_integer(row[(arguments.limbs - 1) * layout.places + place]);
        for (int limb = arguments.limbs - 2; limb >= 0; limb--) {
            const DoubleDouble part = of_integer(row[limb * layout.places + place]);
            total = add(scaled(total, arguments.limb_unit), part);
        }
        return scaled(total, units[column]);
    };
    const auto size = static_cast<int64_t>(arguments.counts[cluster]);
    const double weight =
            arguments.weighted ? value(layout.places - 1, d) : static_cast<double>(size);
    const double inverse = weight == 0 ? 0 : 1 / weight;
    const bool l2 = arguments.l2;
    const bool gains = arguments.output.gains;
    DoubleDouble gain{};
    constexpr int kEach = 4; // columns whose loads are on their way together
    for (int first = lane; first < d; first += 32 * kEach) {
        double totals[kEach];
        double centroids[kEach];
        DoubleDouble sums[kEach];
#pragma unroll
        for (int i = 0; i < kEach; i++) {
            const int column = first + 32 * i;
            const int place = layout.place(column);
            const bool exists = column < d;
            totals[i] = exists ? value(place, column) : 0.0;
            sums[i] = exists && gains ? exact_value(place, column) : DoubleDouble{};
            centroids[i] = exists && gains ? arguments.centroids[cluster * d + column] : 0.0f;
        }
#pragma unroll
        for (int i = 0; i < kEach; i++) {
            const int column = first + 32 * i;
            if (column < d) {
                const auto mean = static_cast<float>(totals[i] * inverse);
                arguments.output.means[cluster * d + column] = mean;
            }
            if (column < d && gains) {
                const auto points = static_cast<double>(size);
                gain = add(gain, gain_of(l2, centroids[i], points, sums[i]));
            }
        }
    }
    gain = fold_warp(gain); // all have read the count, too
    for (int place = lane; !arguments.keep && place < arguments.limbs * layout.places;
         place += 32) {
        row[place] = 0;
    }
    if (lane == 0) {
        arguments.output.sizes[cluster] = size;
        arguments.output.weights[cluster] = weight;
        if (gains) {
            arguments.output.gains[cluster] = gain;
        }
        if (!arguments.keep) {
            arguments.counts[cluster] = 0;
        }
    }
}

} // namespace

void find_means(
        const Sums& sums,
        const SumFormat& format,
        const float* centroids,
        const ClusterMeans& output,
        cudaStream_t stream) {
    MeanArguments arguments{};
    arguments.sums = reinterpret_cast<long long*>(sums.data);
    arguments.counts = reinterpret_cast<unsigned long long*>(sums.data + format.sums.sizes());
    arguments.keep = sums.kept > 0;
    arguments.weighted = format.workload.weighted;
    arguments.l2 = format.workload.metric == Metric::l2;
    arguments.k = format.workload.k;
    arguments.clusters = format.workload.batch * arguments.k;
    arguments.d = static_cast<int>(format.workload.d);
    arguments.layout = format.layout;
    arguments.units = format.units;
    arguments.limb_unit = 1 / format.limb_step;
    arguments.limbs = format.limbs;
    arguments.centroids = centroids;
    arguments.output = output;
    mean_kernel<<<blocks_of(arguments.clusters * 32, kThreads), kThreads, 0, stream>>>(arguments);
    check_launch("means of the clusters");
}

} // namespace faiss_flash::cuda
