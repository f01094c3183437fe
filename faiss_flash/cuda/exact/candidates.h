/// The second pass of the exact assignment: the candidates of the rows that the first left open,
/// and the best of each row's.
#pragma once

#include <faiss_flash/cuda/assign/assign.h>
#include <faiss_flash/cuda/exact/decide.h>
#include <faiss_flash/cuda/exact/points.h>
#include <faiss_flash/cuda/runtime/arena.h>

#include <cstdint>
#include <optional>

namespace faiss_flash::cuda {

/// Memory of decide_candidates() for some of n points at a time: what a pass over them compares.
struct CandidateWorkspace {
    CandidateWorkspace() = default;
    /// folds: the centroids' table has folded biases.
    CandidateWorkspace(int64_t n, int64_t d, int64_t k, bool folds, Arena& arena);

    AssignPlan plan;
    int64_t capacity = 0;        ///< rows of a pass
    uint16_t* halves = nullptr;  ///< [capacity x padded_columns(d)]
    float* bars = nullptr;       ///< [capacity]
    int32_t* rows = nullptr;     ///< [capacity] numbers of the points
    int32_t* count = nullptr;    ///< one: rows in use
    uint32_t* entries = nullptr; ///< as in CandidateLists
    uint8_t* counts = nullptr;   ///< as in CandidateLists
};

/// Passes that decide_candidates() makes where `expected` of n rows are expected to be open.
int64_t listing_passes(const CandidateWorkspace& workspace, int64_t n, int64_t expected);

/// Device arrays that decide_candidates() fills.
struct Decided {
    int32_t* ids;   ///< [n] of the open rows: the float64 argmin or argmax, ties to the lowest
    int32_t* count; ///< one: rows with several candidates are added
};

/// bars [n]: what a score of table must reach to be the best of an open row. rest: of all open
/// rows; less of them is left, those whose lists do not hold all candidates. expected: about how
/// many rows are open; where there are more, the others are left as well. Without it this waits for
/// the number.
void decide_candidates(
        const DevicePoints& points,
        const TensorCentroids& table,
        const ExactCentroids& centroids,
        const float* bars,
        std::optional<int64_t> expected,
        const CandidateWorkspace& workspace,
        const Decided& output,
        RestRows& rest,
        cudaStream_t stream);

} // namespace faiss_flash::cuda
