/// The backend over CUDA kernels.
#pragma once

#include <faiss_flash/core/backend.h>

#include <vector>

namespace faiss_flash::cuda {

/// One for every device of compute capability 8.0 or later; none without a driver. One that is too
/// old for this build is named on stderr once. Asks the driver, but creates no context.
std::vector<const Backend*> backends();

} // namespace faiss_flash::cuda
