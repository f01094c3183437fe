/// The centroids of e-means in the host's memory (core/moving_averages.h).
#pragma once

#include <faiss_flash/core/shard.h>

#include <memory>

namespace faiss_flash::cpu {

/// Of one problem, in batches.
std::unique_ptr<Centroids> moving_averages(
        const Format& format, const Workload& workload, const Sums* squares);

} // namespace faiss_flash::cpu
