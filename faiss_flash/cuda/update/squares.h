/// What an objective is made of besides the clusters' gains (core/objective.h): sums without any
/// error, in any order.
#pragma once

#include <faiss_flash/core/objective.h>
#include <faiss_flash/cuda/update/update.h>

#include <cuda_runtime_api.h>

#include <cstdint>
#include <vector>

namespace faiss_flash::cuda {

/// squares [batch], on the device: the sum of the squares of each problem's rows, whose columns
/// have the ranges [batch].
void sum_squares(
        const UpdateRows& rows,
        const std::vector<ColumnRange>& ranges,
        DoubleDouble* squares,
        cudaStream_t stream);

/// Adds values [n] to the sum; all on the device.
void sum_values(const double* values, int64_t n, LongSum* sum, cudaStream_t stream);

} // namespace faiss_flash::cuda
