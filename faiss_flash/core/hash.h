/// A 64-bit hash of bytes: finds what chance changes, not what somebody forges.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

namespace faiss_flash {

/// Bytes that come in several calls count as the same bytes in one where every call but the last
/// adds whole words of 8.
class Hash {
   public:
    void add(const void* data, size_t bytes) {
        const auto* from = static_cast<const uint8_t*>(data);
        for (; bytes >= sizeof(uint64_t); bytes -= sizeof(uint64_t), from += sizeof(uint64_t)) {
            uint64_t word;
            std::memcpy(&word, from, sizeof word);
            mix(word);
        }
        if (bytes > 0) {
            uint64_t word = 0;
            std::memcpy(&word, from, bytes);
            mix(word);
        }
    }

    uint64_t value() const { return value_; }

   private:
    /// One to one in both: no change of a single word goes unnoticed.
    void mix(uint64_t word) {
        value_ = (value_ ^ word) * 0x9e3779b97f4a7c15u;
        value_ ^= value_ >> 32;
    }

    uint64_t value_ = 0xcbf29ce484222325u;
};

} // namespace faiss_flash
