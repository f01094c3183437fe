/// What is kept between calls, for their latency: streams, events, page-locked memory, and the
/// engine's own pool of device memory. What callers do with CUDA's default pool is left alone.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>

namespace faiss_flash::cuda {

/// Of the current device, made when first asked for. It keeps what is given back to it.
cudaMemPool_t memory_pool();

/// Memory of the current device from the engine's pool, in the order of a stream. Where there is
/// none, what the pool keeps goes back to the device first; throws OutOfDeviceMemory after that.
void* take_device(size_t bytes, cudaStream_t stream);
void give_back_device(void* memory, cudaStream_t stream) noexcept;

/// Gives memory that is not in use back to the device, but for what calls need again soon: 256 MiB
/// or a thirty-second of the device's memory. A gigabyte takes 3 ms to come, and 3 to go.
void trim_memory_pool() noexcept;

/// Bytes of the current device that take_device() could give out. Asking takes 0.1 ms.
int64_t free_device_bytes();
/// Whether these are as many; asks only where the pool does not keep them.
bool has_room(int64_t bytes);
/// Throws OutOfDeviceMemory where has_room() is false. `what` is to be allocated.
void require_room(const char* what, int64_t bytes);
/// Throws it where `what` wants more than a KMeansOptions::memory_limit; 0: there is none.
void require_within(int64_t limit, const char* what, int64_t bytes);

/// A stream of the current device that nobody else uses.
cudaStream_t take_stream();
void give_back_stream(cudaStream_t stream) noexcept;

/// An event of the current device, which tells no time. It may have been recorded before, by work
/// that is over.
cudaEvent_t take_event();
void give_back_event(cudaEvent_t event) noexcept;

/// Page-locked memory of the host. Blocks of one size are kept, 64 MiB of them at most, so that
/// calls of many sizes do not add up; more than a block is allocated anew each time.
inline constexpr size_t kPinnedBlock = size_t{1} << 20;
void* take_pinned(size_t bytes);
void give_back_pinned(void* memory, size_t bytes) noexcept;

} // namespace faiss_flash::cuda
