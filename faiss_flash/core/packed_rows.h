/// Rows of any source brought together in their own type, for a device that converts them itself.
#pragma once

#include <faiss_flash/core/points.h>

#include <cstdint>

namespace faiss_flash {

/// The type of packed rows: the points' own, float32 where a decoder makes them.
DType packed_type(const Points& points);

/// Bytes of a packed row.
int64_t packed_row_bytes(const Points& points);

/// Rows first .. first + count - 1 to out, one after the other, as packed_type(). out is aligned as
/// float32.
void copy_packed(const Points& points, int64_t first, int64_t count, uint8_t* out);

} // namespace faiss_flash
