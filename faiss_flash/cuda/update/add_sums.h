/// The sums of shards that are on one device.
#pragma once

#include <faiss_flash/core/shard.h>

#include <cuda_runtime_api.h>

#include <vector>

namespace faiss_flash::cuda {

/// total[i] = the sum of the parts' i-th integers; what a part does not keep is cleared.
void add_sums(const std::vector<Sums>& parts, int64_t* total, cudaStream_t stream);

} // namespace faiss_flash::cuda
