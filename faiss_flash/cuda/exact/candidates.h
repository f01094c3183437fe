/// The second pass of the exact assignment: the candidates of the rows that the first left open,
/// and the best of each row's.
#pragma once

#include <faiss_flash/cuda/assign/assign.h>
#include <faiss_flash/cuda/exact/decide.h>
#include <faiss_flash/cuda/exact/points.h>

#include <cstdint>
#include <optional>

namespace faiss_flash::cuda {

/// Bytes of device memory that decide_candidates() takes for any share of n rows.
int64_t candidates_bytes(int64_t n, int64_t d, int64_t k);

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
        const CentroidTable& table,
        const ExactCentroids& centroids,
        const float* bars,
        std::optional<int64_t> expected,
        const Decided& output,
        RestRows& rest,
        cudaStream_t stream);

} // namespace faiss_flash::cuda
