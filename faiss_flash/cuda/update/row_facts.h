/// What passes over all rows find: ranges of weighted columns, and what rows alone contribute to
/// the objective (core/objective.h).
#pragma once

#include <faiss_flash/core/shard.h>
#include <faiss_flash/cuda/update/sum_format.h>

#include <cuda_runtime_api.h>

#include <cstdint>

namespace faiss_flash::cuda {

/// Of one problem's rows and their weights [n], on the device. Waits for it.
RowFacts find_weighted_ranges(const DeviceRows& rows, const float* weights, cudaStream_t stream);

/// Adds the rows' x^2 to sums [batch x square_limbs x d].
void add_squares(
        const DeviceRows& rows, const SumFormat& format, int64_t* sums, cudaStream_t stream);

/// squares [batch]: of such sums over all rows.
void total_squares(
        const SumFormat& format, int64_t* sums, DoubleDouble* squares, cudaStream_t stream);

/// Adds values [n] of rows to a sum.
void sum_values(const double* values, int64_t n, LongSum* sum, cudaStream_t stream);

} // namespace faiss_flash::cuda
