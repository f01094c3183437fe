/// Centroids that stay on a device from assignment to assignment.
#pragma once

#include <faiss_flash/core/backend.h>

#include <cstdint>
#include <memory>

namespace faiss_flash::cuda {

/// Backend::prepare() on a device. Its memory goes back when the result is destroyed.
std::unique_ptr<PreparedCentroids> keep_centroids(
        int device, const float* centroids, int64_t k, int64_t d, Metric metric);

} // namespace faiss_flash::cuda
