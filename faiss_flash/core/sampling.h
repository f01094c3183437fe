/// FAISS's random choices: same seed, same rows. Contract: faiss::rand_perm and
/// faiss::RandomGenerator (mt19937), read off FAISS 1.7.3 to 1.15.
#pragma once

#include <cstdint>
#include <vector>

namespace faiss_flash {

/// The first m entries of FAISS's random permutation of 0 .. n - 1, in O(m) memory and time.
/// Only the low 32 bits of seed count, as in FAISS.
std::vector<int64_t> permutation_head(int64_t n, int64_t m, int64_t seed);

/// m rows of n drawn with replacement, FAISS's use_faster_subsampling (1.14.2 and later).
std::vector<int64_t> draw_with_replacement(int64_t n, int64_t m, int64_t seed);

/// The seed itself, or the clock's low bits for a negative one.
int64_t resolve_seed(int64_t seed);

} // namespace faiss_flash
