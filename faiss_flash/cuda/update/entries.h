/// What an update has to add up: all points, or those that moved since the last one.
#pragma once

#include <faiss_flash/cuda/counts.h>

#include <cuda_runtime_api.h>

#include <cstdint>

namespace faiss_flash::cuda {

/// For every problem of a batch. A point that moved has two entries: one taken from its old
/// cluster, one for its new one. Where there are more entries than the list holds, the sums start
/// again from zero, and every point is an entry.
struct Entries {
    static constexpr uint32_t kTaken = 1u << 31; ///< in a point's number: its row is subtracted

    const int32_t* ids;    ///< [batch x n]
    const int2* list;      ///< [batch x capacity] (point, cluster), counted within the problem
    const uint32_t* moved; ///< [batch] entries; null: always all points
    int32_t n, k;
    uint32_t capacity;
    IterationCounts* counts; ///< [batch] invalid ids are added to

    __device__ bool all(int32_t problem) const { return !moved || moved[problem] > capacity; }
    __device__ int32_t count(int32_t problem) const {
        return all(problem) ? n : static_cast<int32_t>(moved[problem]);
    }
    /// An assignment that found no centroid leaves an id that is none, and must not be an index:
    /// the last cluster's stands in for it, so that the run ends in an exception and nowhere else.
    __device__ int32_t as_index(int32_t id) const {
        return static_cast<uint32_t>(id) < static_cast<uint32_t>(k) ? id : k - 1;
    }
};

/// One problem's, read by one block.
struct ProblemEntries {
    const int32_t* ids;
    const int2* list; ///< null: all points
    int32_t count;

    __device__ ProblemEntries(const Entries& entries, int32_t problem)
        : ids(entries.ids + int64_t{problem} * entries.n),
          list(entries.all(problem) ? nullptr : entries.list + int64_t{problem} * entries.capacity),
          count(entries.count(problem)) {}
    /// As the assignment left it: see Entries::as_index().
    __device__ int32_t id(int32_t i) const { return list ? list[i].y : ids[i]; }
    __device__ int32_t point(int32_t i) const { return list ? list[i].x : i; }
};

} // namespace faiss_flash::cuda
