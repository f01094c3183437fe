/// What is kept between calls, for the latency of small ones: streams, page-locked memory, and the
/// engine's own pool of device memory. What callers do with CUDA's default pool is left alone.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>

namespace faiss_flash::cuda {

/// Of the current device, made when first asked for. It keeps what is given back to it.
cudaMemPool_t memory_pool();

/// Gives memory that is not in use back to the device, but for what small calls need again soon.
void trim_memory_pool();

/// A stream of the current device that nobody else uses.
cudaStream_t take_stream();
void give_back_stream(cudaStream_t stream);

/// Page-locked memory of the host.
void* take_pinned(size_t bytes);
void give_back_pinned(void* memory, size_t bytes);

} // namespace faiss_flash::cuda
