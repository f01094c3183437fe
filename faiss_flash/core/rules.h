/// What becomes of an iteration's means before they are the next one's centroids.
#pragma once

#include <cstdint>
#include <vector>

namespace faiss_flash {

struct CentroidRules {
    int64_t frozen = 0;         ///< the first centroids that keep their values
    bool spherical = false;     ///< scaled to length 1
    bool int_centroids = false; ///< rounded, halves away from zero
};

/// Of centroids [k x d].
void apply_rules(const CentroidRules& rules, int64_t k, int64_t d, float* centroids);

/// How far a pair's coordinates move, of themselves: FAISS's EPS.
inline constexpr float kSplitShift = 1.0f / 1024.0f;

/// An empty cluster is given half of another one.
struct Split {
    int64_t empty;
    int64_t donor;
};

/// A large cluster for each empty one, chosen at random in proportion to its size
/// (faiss::detail::split_clusters; mt19937 seeded with 1234 on every call).
/// After 10 * k failed tries the largest cluster is taken, so tiny weights cannot hang it.
/// @param k       clusters that may be changed
/// @param n       training points
/// @param counts  [k] sum of weights of each cluster; updated
std::vector<Split> choose_splits(int64_t k, int64_t n, double* counts);

/// Moves the centroids [k x d] of each pair apart, one pair after the other.
void apply_splits(const std::vector<Split>& splits, int64_t d, float* centroids);

/// Gives empty clusters a half of large ones and applies the rules, to centroids [k x d] that hold
/// the means of an iteration over n points (frozen ones their values). Returns the clusters split.
int64_t finish_centroids(
        const CentroidRules& rules,
        int64_t n,
        int64_t k,
        int64_t d,
        std::vector<double>& weights,
        float* centroids);

/// Of n points in k clusters whose sizes' squares add up to `squares`: k * squares / n^2.
double imbalance_factor(double squares, int64_t n, int64_t k);

} // namespace faiss_flash
