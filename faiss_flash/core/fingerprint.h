/// What a run's result depends on, in a few bytes.
#pragma once

#include <faiss_flash/core/backend.h>
#include <faiss_flash/kmeans.h>

#include <cstdint>
#include <string>
#include <vector>

namespace faiss_flash {

/// Runs of equal fingerprints end with the same bits. It is the same on every backend but for
/// Precision::fast, whose results are a device's own.
struct Fingerprint {
    std::string options; ///< the shape and all options that decide: "n=1000 d=8 k=10 ..."
    uint64_t points = 0; ///< hash of up to 1024 rows, spread evenly over the training points
    uint64_t facts = 0;  ///< hash of what a pass over all rows finds; 0 before that
    uint64_t weights = 0;
    uint64_t initial_centroids = 0;
};

/// @param initial  [m x d], m <= k
/// @param options  as the caller gave them: a negative seed is the clock's, whatever it says
Fingerprint fingerprint_of(
        const Backend& backend,
        const Problem& problem,
        const std::vector<float>& initial,
        int64_t k,
        const KMeansOptions& options);

/// Of the rows on the backend that the fingerprint is of.
uint64_t hash_of(const RowFacts& facts);

/// In words what `stored` is of and `now` is not; empty where they are the same. Facts are left
/// aside.
std::string difference(const Fingerprint& stored, const Fingerprint& now);

} // namespace faiss_flash
