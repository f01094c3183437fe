// Compiled without contraction: means have the CPU backend's bits.
//
// Budget: K d limbs 8 bytes once, K d 4 written.
#include <faiss_flash/cuda/runtime/check.h>
#include <faiss_flash/cuda/update/means.h>

namespace faiss_flash::cuda {

namespace {

constexpr int kThreads = 128;

/// One warp a cluster.
__global__ void mean_kernel(const MeanArguments arguments) {
    const int64_t cluster = (int64_t{blockIdx.x} * kThreads + threadIdx.x) / 32;
    const int lane = static_cast<int>(threadIdx.x) % 32;
    if (cluster >= arguments.clusters) {
        return;
    }
    const int d = arguments.d;
    const int64_t problem = cluster / arguments.k;
    const double* units = arguments.units + problem * (d + 1);
    const float* mean = arguments.gains.mean ? arguments.gains.mean + problem * d : nullptr;
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
    const auto size = static_cast<int64_t>(arguments.counts[cluster]);
    const double weight =
            arguments.weighted ? value(layout.places - 1, d) : static_cast<double>(size);
    const double inverse = weight == 0 ? 0 : 1 / weight;
    const bool l2 = arguments.gains.metric == Metric::l2;
    double gain = 0;
    constexpr int kEach = 4; // columns whose loads are on their way together
    for (int first = lane; first < layout.places - 1; first += 32 * kEach) {
        double sums[kEach];
        float centroids[kEach];
        float means[kEach];
#pragma unroll
        for (int i = 0; i < kEach; i++) {
            const int place = first + 32 * i;
            const int column = layout.column(place);
            const bool exists = place < layout.places - 1 && column < d;
            sums[i] = exists ? value(place, column) : 0.0;
            centroids[i] = exists && arguments.output.gains
                                   ? arguments.gains.centroids[cluster * d + column]
                                   : 0.0f;
            means[i] = exists && mean ? mean[column] : 0.0f;
        }
#pragma unroll
        for (int i = 0; i < kEach; i++) {
            const int place = first + 32 * i;
            const int column = layout.column(place);
            if (place < layout.places - 1 && column < d) {
                arguments.output.means[cluster * d + column] =
                        static_cast<float>(sums[i] * inverse);
            }
            if (l2) {
                const double c = double{centroids[i]} - double{means[i]};
                const double sum = sums[i] - static_cast<double>(size) * double{means[i]};
                gain += c * (static_cast<double>(size) * c - 2 * sum);
            } else {
                gain += double{centroids[i]} * sums[i];
            }
        }
    }
    for (int width = 16; width > 0; width /= 2) {
        gain += __shfl_xor_sync(~0u, gain, width); // all have read the count, too
    }
    for (int place = lane; !arguments.keep && place < arguments.limbs * layout.places;
         place += 32) {
        row[place] = 0;
    }
    if (lane == 0) {
        arguments.output.sizes[cluster] = size;
        arguments.output.weights[cluster] = weight;
        if (arguments.output.gains) {
            arguments.output.gains[cluster] = gain;
        }
        if (!arguments.keep) {
            arguments.counts[cluster] = 0;
        }
    }
}

} // namespace

void find_means(const MeanArguments& arguments, cudaStream_t stream) {
    mean_kernel<<<blocks_of(arguments.clusters * 32, kThreads), kThreads, 0, stream>>>(arguments);
    check_launch("means of the clusters");
}

} // namespace faiss_flash::cuda
