/// FAISS's rule for clusters that lost all their points.
#pragma once

#include <cstdint>

namespace faiss_flash {

/// Gives each empty cluster half of a large one, chosen at random in proportion to its size
/// (faiss::detail::split_clusters; mt19937 seeded with 1234 on every call).
/// After 10 * k failed tries the largest cluster is taken, so tiny weights cannot hang it.
/// @param k          clusters that may be changed
/// @param d          coordinates of a centroid
/// @param n          training points
/// @param counts     [k] sum of weights of each cluster; updated
/// @param centroids  [k x d]; updated
/// @return           clusters split
int64_t split_empty_clusters(int64_t k, int64_t d, int64_t n, double* counts, float* centroids);

} // namespace faiss_flash
