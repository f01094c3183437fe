/// The engine's own pool of device memory: what callers do with CUDA's default one is left alone.
#pragma once

#include <cuda_runtime_api.h>

namespace faiss_flash::cuda {

/// Of the current device, made when first asked for. It keeps what is given back to it.
cudaMemPool_t memory_pool();

/// Gives memory that is not in use back to the device, but for what small calls need again soon.
void trim_memory_pool();

} // namespace faiss_flash::cuda
