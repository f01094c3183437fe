/// Values of the device on their way to the host.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>
#include <vector>

namespace faiss_flash::cuda {

/// Copies [to.size() x each] values to the arrays `to` [each], but for those that are null, and
/// waits for them. They go through page-locked blocks: while some are filled by the device,
/// threads of the host empty others. What poll_if_due() throws leaves some of them written.
void download(const float* from, const std::vector<float*>& to, int64_t each, cudaStream_t stream);

} // namespace faiss_flash::cuda
