/// What an update has to add up: all points, or those that moved since the last one.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

namespace faiss_flash::cuda {

/// For every problem of a batch. A point that moved has two entries: one taken from its old
/// cluster, one for its new one. Where there are more entries than the list holds, the sums start
/// again from zero, and every point is an entry.
struct Entries {
    static constexpr uint32_t kTaken = 1u << 31; ///< in a point's number: its row is subtracted

    const int32_t* ids;    ///< [batch x n]; where entries are listed, all of them are valid
    const int2* list;      ///< [batch x capacity] (point, cluster), counted within the problem
    const uint32_t* moved; ///< [batch] entries, up to 2^31; null: always all points
    int32_t n, k;
    uint32_t capacity;

    __device__ bool all(int32_t problem) const { return !moved || moved[problem] > capacity; }
    __device__ int32_t count(int32_t problem) const {
        return all(problem) ? n : static_cast<int32_t>(moved[problem]);
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
    __device__ int32_t id(int32_t i) const { return list ? list[i].y : ids[i]; }
    __device__ int32_t point(int32_t i) const { return list ? list[i].x : i; }
};

} // namespace faiss_flash::cuda
