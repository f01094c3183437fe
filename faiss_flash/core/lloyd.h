/// Lloyd's iteration with FAISS's rules, written once for every backend.
#pragma once

#include <faiss_flash/core/backend.h>
#include <faiss_flash/kmeans.h>

#include <cstdint>
#include <vector>

namespace faiss_flash {

/// Runs all restarts over the training points.
/// @param points   training points, more than k, finite
/// @param weights  [n] or null
/// @param initial  [m x d] with m <= k: the first m centroids
KMeansResult run_lloyd(
        const Backend& backend,
        const Points& points,
        const float* weights,
        const std::vector<float>& initial,
        int64_t k,
        const KMeansOptions& options);

} // namespace faiss_flash
