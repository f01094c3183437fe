/// The backend over CUDA kernels.
#pragma once

#include <faiss_flash/core/backend.h>

namespace faiss_flash::cuda {

/// Null where no device of compute capability 8.0 or later can be used; a driver that is too old
/// for this build is named on stderr once. Asks the driver, but creates no context.
/// @param host  takes over what does not fit on the device, and looks for NaNs in host memory
const Backend* backend(const Backend& host);

} // namespace faiss_flash::cuda
