/// Rows in the device's memory.
#pragma once

#include <faiss_flash/core/points.h>

#include <cstdint>

namespace faiss_flash::cuda {

/// Some rows side by side.
struct RowRange {
    int64_t first, count;
};

/// Rows of one or more problems on the device, one problem after the other.
struct DeviceRows {
    const void* data;
    DType dtype;
    int64_t batch, n, d;
    int64_t row_bytes; ///< from row to row

    DeviceRows of_problem(int64_t b) const {
        const auto* first = static_cast<const uint8_t*>(data) + b * n * row_bytes;
        return {first, dtype, 1, n, d, row_bytes};
    }
    /// Of one problem; all rows of several.
    DeviceRows part(const RowRange& rows) const {
        const auto* from = static_cast<const uint8_t*>(data) + rows.first * row_bytes;
        return {from, dtype, batch, rows.count, d, row_bytes};
    }
};

/// Columns that a thread reads at a time where rows are read in vectors: 16 bytes, or 8 columns.
constexpr int vector_columns(int64_t element_bytes) {
    return element_bytes == 4 ? 4 : 8;
}

/// Columns of a thread where they are not.
inline constexpr int kSingles = 4;

/// True where rows of d such columns are read in vectors. DeviceRows then start at multiples of
/// one.
inline bool reads_vectors(DType dtype, int64_t d) {
    return d % vector_columns(dtype_size(dtype)) == 0;
}

/// Bytes that the rows' addresses must be multiples of.
inline int64_t row_alignment(DType dtype, int64_t d) {
    const int64_t bytes = dtype_size(dtype);
    return reads_vectors(dtype, d) ? bytes * vector_columns(bytes) : bytes;
}

} // namespace faiss_flash::cuda
