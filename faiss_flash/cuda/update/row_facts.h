/// What passes over all rows find: columns' ranges, and what rows alone contribute to the objective
/// (core/objective.h).
#pragma once

#include <faiss_flash/core/shard.h>
#include <faiss_flash/cuda/update/sum_format.h>

#include <cuda_runtime_api.h>

#include <cstdint>

namespace faiss_flash::cuda {

/// Of rows and, of one problem, their weights [n] (null = all 1), on the device. terms: rows of a
/// problem over all shards. Waits for the device, unless rows are f16 of which one limb holds all.
RowFacts find_ranges(
        const DeviceRows& rows, const float* weights, int64_t terms, cudaStream_t stream);

/// Adds the rows' x^2 to sums [batch x square_limbs x d].
void add_squares(
        const DeviceRows& rows, const SumFormat& format, int64_t* sums, cudaStream_t stream);

/// squares [batch]: of such sums over all rows.
void total_squares(
        const SumFormat& format, int64_t* sums, DoubleDouble* squares, cudaStream_t stream);

/// Adds values [n] of rows to a sum.
void sum_values(const double* values, int64_t n, LongSum* sum, cudaStream_t stream);

} // namespace faiss_flash::cuda
