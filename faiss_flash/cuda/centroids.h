/// The centroids of a clustering on the device.
#pragma once

#include <faiss_flash/core/shard.h>
#include <faiss_flash/cuda/update/sum_format.h>

#include <cuda_runtime_api.h>

#include <cstdint>
#include <memory>

namespace faiss_flash::cuda {

/// Iterations of a restart that are queued as they are, before others are replayed as graphs. Two
/// of these cost 180 us to make and launch first, and save 5 us an iteration.
inline constexpr int kFirstReplayed = 32;

/// squares: Shard::squares() of all rows, where the format has them. The format must outlive them.
std::unique_ptr<Centroids> centroids_on_device(
        const SumFormat& format, const Sums* squares, cudaStream_t stream);

/// Bytes of device memory that they take.
int64_t centroid_bytes(const SumFormat& format);

} // namespace faiss_flash::cuda
