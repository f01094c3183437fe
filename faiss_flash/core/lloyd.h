/// Lloyd's iteration with FAISS's rules, or e-means' epochs, written once for every backend.
#pragma once

#include <faiss_flash/core/backend.h>
#include <faiss_flash/core/checkpoint.h>
#include <faiss_flash/kmeans.h>

#include <cstdint>
#include <vector>

namespace faiss_flash {

/// Runs all restarts over the training points of each problem, all problems at a time. Where these
/// are all points and still on a device, fills KMeansResult::assignment and ::distances when asked
/// for; else leaves them empty, with room for the points in their capacity.
/// @param problems  of equal n and d, more than k finite points each; of e-means one, in an order
///                  such that any rows side by side are a sample
/// @param initial   of each problem [m x d] with m <= k, the same m: the first m centroids
/// @param cuts      rows where one shard ends and the next begins, ascending; none: one shard. The
///                  result is the same bits for any.
/// @param checkpoint  of the one problem, or null: where its states go, and what it goes on from
std::vector<KMeansResult> run_lloyd(
        const Backend& backend,
        const std::vector<Problem>& problems,
        const std::vector<std::vector<float>>& initial,
        int64_t k,
        const KMeansOptions& options,
        Checkpoint* checkpoint = nullptr,
        const std::vector<int64_t>& cuts = {});

} // namespace faiss_flash
