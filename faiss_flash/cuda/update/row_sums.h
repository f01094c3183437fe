/// The sums of few rows, which need no order.
#pragma once

#include <faiss_flash/cuda/device_rows.h>
#include <faiss_flash/cuda/update/sum_format.h>

#include <cuda_runtime_api.h>

#include <cstdint>

namespace faiss_flash::cuda {

/// True where rows of k clusters are so few that adding each of their values to memory takes less
/// time than to sort them first. Sorting them would be short.
bool are_few(const DeviceRows& rows, int64_t k);

/// Adds rows to the sums (in format.sums) of the clusters that ids [batch x n] say. Ids that are
/// none are counted there.
/// @param weights  [n] of one problem's rows, or null (all 1)
void add_rows(
        const DeviceRows& rows,
        const float* weights,
        const int32_t* ids,
        const SumFormat& format,
        int64_t* sums,
        cudaStream_t stream);

} // namespace faiss_flash::cuda
