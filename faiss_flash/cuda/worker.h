/// A GPU's part in a clustering.
#pragma once

#include <faiss_flash/core/shard.h>

#include <cstdint>
#include <memory>

namespace faiss_flash::cuda {

/// Throws OutOfDeviceMemory where the device has no room for the workload.
std::unique_ptr<Worker> start_worker(int device, const Workload& workload);

/// Bytes of device memory that a clustering in one shard takes on the current device, all of it
/// before the first iteration: to the byte with the format; without one, as for most data.
int64_t device_bytes(const Workload& workload, const Format* format = nullptr);

} // namespace faiss_flash::cuda
