/// One assignment of rows that are not in a shard: uploaded, assigned, and given back to the host.
#pragma once

#include <faiss_flash/core/backend.h>
#include <faiss_flash/cuda/assigner.h>

#include <cstdint>
#include <vector>

namespace faiss_flash::cuda {

/// What Backend::assign() does, chunk after chunk of the points on the current device.
/// @param problem    without its centroids
/// @param centroids  [k x d] on the device
void assign_in_chunks(const Assignment& problem, const float* centroids, int64_t k, Metric metric);

/// The same with the problem's own centroids, which are brought to the device.
void assign_in_chunks(const Assignment& problem, int64_t k, Metric metric);

/// Bytes of device memory that this takes, of n rows such as the view's, where no limit makes the
/// chunks smaller.
int64_t chunk_bytes(int64_t n, int64_t k, const VectorView& view);

/// What Backend::assign_batch() does, for small ones (direct_pays()) in one kernel for all
/// problems. False, with nothing written, where some row is not finite: the kernel takes none.
bool assign_together(const std::vector<Assignment>& problems, int64_t k, Metric metric);

/// Bytes of device memory that an assignment takes, of n rows such as the view's of each problem at
/// a time.
int64_t assign_bytes(int64_t batch, int64_t n, int64_t k, const VectorView& view, Method method);

} // namespace faiss_flash::cuda
