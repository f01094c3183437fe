/// Host rows on their way to the device, in their own type: packed_type() of core/packed_rows.h.
///
/// Rows in page-locked memory are copied from where they lie. Others go through page-locked blocks:
/// each of several threads fills the next one and queues its copy, so that filling and copying
/// overlap all the time. Exceptions of a decoder, and of a caller who wants to stop, reach the
/// caller; on return, with an exception too, nothing reads the host's rows any more.
#pragma once

#include <faiss_flash/core/points.h>

#include <cuda_runtime_api.h>

#include <cstdint>
#include <functional>

namespace faiss_flash::cuda {

/// Page-locked memory of the host that an upload takes at most, unless a row is longer than half.
inline constexpr int64_t kUploadHostBytes = int64_t{32} << 20;

/// Brings rows first .. first + n - 1 to `to` [n x packed_row_bytes()] on the current device.
void upload_packed(const Points& points, int64_t first, int64_t n, void* to, cudaStream_t stream);

/// Queues what becomes of packed rows on the device [count x packed_row_bytes()], which are there
/// for the stream's next work only. The first is number `done` of the upload's.
using TakeRows = std::function<void(const void* rows, int64_t done, int64_t count)>;

/// The same in pieces, for rows that do not stay as they are.
/// @param take  called by several threads, one at a time, for the pieces in any order
void upload(
        const Points& points, int64_t first, int64_t n, cudaStream_t stream, const TakeRows& take);

/// Bytes of device memory that upload() of rows of so many bytes takes meanwhile; upload_packed()
/// takes none.
int64_t upload_bytes(int64_t n, int64_t row_bytes);

} // namespace faiss_flash::cuda
