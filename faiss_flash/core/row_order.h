/// A random order of rows as a function of their places: no list of them is kept.
///
/// A place's number goes through a few rounds of a product with an odd key, a sum and a shift onto
/// itself, all modulo a power of two: each can be turned back, so no two places share a row. What
/// falls beyond the last row goes through the rounds again until it does not (cycle walking; Black
/// and Rogaway 2002). Mitchell, Stokes, Frank, Holmes 2022 shuffle on GPUs the same way.
#pragma once

#include <faiss_flash/core/double_double.h>

#include <cstdint>

namespace faiss_flash {

struct RowOrder {
    static constexpr int kRounds = 4;
    /// From so many rows on, neighbours stay together: storage is read in longer pieces, and a
    /// batch has millions of rows by then.
    static constexpr int64_t kMostApart = int64_t{1} << 24;

    int64_t blocks = 0;         ///< 0: rows stay where they are
    int block_bits = 0;         ///< of 2^block_bits rows; those behind the last block stay last
    int bits = 0;               ///< blocks <= 2^bits
    uint64_t factors[kRounds];  ///< odd
    uint64_t summands[kRounds]; ///< as all of it, the same for the same rows and seed

    /// Of n rows; seeds that differ give orders that have nothing to do with each other.
    static RowOrder shuffled(int64_t n, uint64_t seed);

    FAISS_FLASH_HOST_DEVICE int64_t row(int64_t place) const {
        const int64_t block = place >> block_bits;
        if (block >= blocks) {
            return place;
        }
        const uint64_t mask = (uint64_t{1} << bits) - 1;
        const int shift = (bits + 1) / 2;
        auto at = static_cast<uint64_t>(block);
        do {
            for (int i = 0; i < kRounds; i++) {
                at = (at * factors[i] + summands[i]) & mask;
                at ^= at >> shift;
            }
        } while (at >= static_cast<uint64_t>(blocks));
        const int64_t within = place - (block << block_bits);
        return (static_cast<int64_t>(at) << block_bits) + within;
    }
};

/// The i-th of the numbers that a seed stands for, in any order and on any device (splitmix64:
/// Steele, Lea, Flood 2014).
FAISS_FLASH_HOST_DEVICE inline uint64_t random_number(uint64_t seed, uint64_t i) {
    uint64_t z = seed + (i + 1) * 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

} // namespace faiss_flash
