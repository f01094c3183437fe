/// Hashes of rows of float32, and the table that they go to.
#pragma once

#include <cstdint>

namespace faiss_flash::cuda {

/// Bits that are the same for values that compare equal.
__device__ inline uint32_t value_bits(float value) {
    return __float_as_uint(value + 0.0f); // -0 becomes +0
}

/// A column's share of a row's hash, which is their sum: splitmix64's finalizer (Steele et al.
/// 2014).
__device__ inline unsigned long long hash_of(float value, int column) {
    unsigned long long hash = (static_cast<unsigned long long>(column) << 32 | value_bits(value)) +
                              0x9E3779B97F4A7C15ull;
    hash = (hash ^ hash >> 30) * 0xBF58476D1CE4E5B9ull;
    hash = (hash ^ hash >> 27) * 0x94D049BB133111EBull;
    return hash ^ hash >> 31;
}

/// Returns the slot, of slots - 1 = mask.
__device__ inline int32_t insert_hash(
        unsigned long long hash,
        int32_t id,
        unsigned long long* hashes,
        int32_t* lowest,
        uint32_t mask) {
    hash |= 1; // 0 is a free slot
    auto slot = static_cast<uint32_t>(hash >> 32) & mask;
    for (;; slot = (slot + 1) & mask) {
        const unsigned long long there = atomicCAS(hashes + slot, 0, hash);
        if (there == 0 || there == hash) {
            atomicMin(lowest + slot, id);
            return static_cast<int32_t>(slot);
        }
    }
}

} // namespace faiss_flash::cuda
