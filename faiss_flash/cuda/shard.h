/// A shard whose rows are on the device.
#pragma once

#include <faiss_flash/core/shard.h>
#include <faiss_flash/cuda/assigner.h>
#include <faiss_flash/cuda/update/sum_format.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

namespace faiss_flash::cuda {

/// The format that all shards have agreed on, as it is on the device.
using AgreedFormat = std::function<const SumFormat&(const Format&)>;

/// Uploads the rows. workload: of the whole clustering.
std::unique_ptr<Shard> open_shard(
        const std::vector<Problem>& problems,
        const Workload& workload,
        Method method,
        AgreedFormat format,
        cudaStream_t stream);

/// Bytes of device memory that a shard takes,
struct ShardBytes {
    int64_t rows; ///< when it is opened,
    int64_t sums; ///< and in prepare()
};
/// of all rows. in_place: make_assigner()'s.
ShardBytes shard_bytes(
        const Workload& workload, Method method, bool in_place, const SumFormat& format);

} // namespace faiss_flash::cuda
