/// The centroids in the host's memory.
#pragma once

#include <faiss_flash/core/shard.h>

#include <cstdint>
#include <memory>
#include <vector>

namespace faiss_flash::cpu {

/// What the sums of one problem's clusters come to.
struct ClusterMeans {
    double objective = 0;        ///< as core/objective.h has it
    std::vector<double> weights; ///< [k] sum of a cluster's weights; its size without weights
    std::vector<float> means;    ///< [k x d]; zeros where the weight is 0
};

/// Of problem b in the sums. centroids [k x d]: those that its points were assigned to; squares:
/// sum over its points, of l2 without weights.
ClusterMeans find_means(
        const Format& format,
        const Workload& workload,
        const int64_t* sums,
        int64_t b,
        const float* centroids,
        DoubleDouble squares);

/// Where a shard on the CPU has its sums.
SumsLayout sums_layout(const Format& format, const Workload& workload);

std::unique_ptr<Centroids> centroids(
        const Format& format, const Workload& workload, const Sums* squares);

} // namespace faiss_flash::cpu
