/// The second pass of the exact assignment: products of f16 pairs, for the rows left open by the
/// first.
///
/// A coordinate is X + X' of two f16, what is left is below 2^-22 of it. Rows [X, X', X] times
/// centroids [C', C, C], all columns in one product, make the scores but for X'.C':
///   |x'.c' - score| <= |x - X - X'| |c| + |X + X'| |c - C - C'| + |X'| |C'|
/// and the tensor cores' sums are bounded as in assign.h; the small products come first, so that
/// only a third of the steps adds to the full magnitude. Bounds go into the biases as there, for
/// points with |X'| and |x - X - X'| below what the reference's r stands for.
#pragma once

#include <faiss_flash/cuda/assign/assign.h>
#include <faiss_flash/cuda/exact/decide.h>
#include <faiss_flash/cuda/exact/points.h>

#include <cstdint>

namespace faiss_flash::cuda {

/// Bytes of device memory that assign_split() takes for any share of n rows.
int64_t split_bytes(int64_t n, int64_t d, int64_t k);

/// ids of the open rows: certain for some; the others, whose ids are good guesses now, are added to
/// still_open, and their decisions reset. open.rows null: all rows. Fills centroids.scaled.
void assign_split(
        const DevicePoints& points,
        const ScaledCentroids& centroids,
        const OpenRows& open,
        int32_t* ids,
        const OpenRows& still_open,
        const Decisions& decisions,
        cudaStream_t stream);

} // namespace faiss_flash::cuda
