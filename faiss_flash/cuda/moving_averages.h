/// The centroids of e-means on the device (core/moving_averages.h).
#pragma once

#include <faiss_flash/core/shard.h>
#include <faiss_flash/cuda/update/sum_format.h>

#include <cuda_runtime_api.h>

#include <cstdint>
#include <memory>

namespace faiss_flash::cuda {

/// Of one problem, in batches. squares: as those of centroids_on_device().
/// @param unit_scale  usage_scale()
std::unique_ptr<Centroids> averages_on_device(
        const SumFormat& format, double unit_scale, const Sums* squares, cudaStream_t stream);

/// Bytes of device memory that they take.
int64_t average_bytes(const SumFormat& format);

} // namespace faiss_flash::cuda
