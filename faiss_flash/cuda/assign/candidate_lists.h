/// Lists of the centroids that may be a row's nearest, in device memory.
#pragma once

#include <cstdint>

namespace faiss_flash::cuda {

/// What the points of every kernel's tile divide.
inline constexpr int64_t kCandidateRows = 256;

/// Entries that a list holds. A row has a list for every part of the centroids and for every quad
/// of threads that has scores of it.
inline constexpr int kListEntries = 16;

/// An entry stands for 32 centroids, of which a lane of the quad has 8, columns 2 lane + {0, 1} of
/// every 8: a bit for each.
inline constexpr int kEntryColumns = 8;
inline constexpr int kEntryLanes = 2; ///< bits
inline constexpr int64_t kMostListedCentroids = int64_t{32} << (32 - kEntryColumns - kEntryLanes);

struct CandidateLists {
    const float* bars = nullptr; ///< [rows] what a score must reach; NaN: every one does
    /// [splits x rows x lists x kListEntries] the first of each list are in use
    uint32_t* entries = nullptr;
    /// [splits x rows x lists]; above kListEntries: more than the list holds
    uint8_t* counts = nullptr;
    int64_t rows = 0; ///< a multiple of kCandidateRows
};

#ifdef __CUDACC__

/// first: a multiple of 32.
__device__ inline uint32_t list_entry(int32_t first, int lane, uint32_t columns) {
    const uint32_t place = static_cast<uint32_t>(first) / 32 << kEntryLanes;
    return (place | static_cast<uint32_t>(lane)) << kEntryColumns | columns;
}

__device__ inline uint32_t columns_of(uint32_t entry) {
    return entry & ((1u << kEntryColumns) - 1);
}

/// The centroid of a bit of columns_of() an entry.
__device__ inline int32_t listed_centroid(uint32_t entry, int column) {
    const auto first = static_cast<int32_t>(entry >> (kEntryColumns + kEntryLanes)) * 32;
    const auto lane = static_cast<int32_t>(entry >> kEntryColumns & ((1u << kEntryLanes) - 1));
    return first + 8 * (column / 2) + 2 * lane + column % 2;
}

#endif

} // namespace faiss_flash::cuda
