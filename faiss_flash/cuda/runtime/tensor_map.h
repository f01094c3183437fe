/// Tensor maps: how the copy engine sees rows of 2-byte elements in device memory.
#pragma once

#include <cuda.h>

#include <cstdint>

namespace faiss_flash::cuda {

/// Elements that a row of d takes where rows start at multiples of 16 bytes.
inline int64_t padded_columns(int64_t d) {
    return (d + 7) / 8 * 8;
}

struct TensorRows {
    const void* data; ///< 16-byte aligned
    bool bf16;        ///< else f16
    int64_t columns;  ///< of a row
    int64_t rows;     ///< of a batch element
    int64_t batch;
    int64_t row_bytes;                  ///< from row to row; a multiple of 16
    int64_t batch_bytes;                ///< from batch element to the next; a multiple of 16
    const int32_t* row_count = nullptr; ///< on the device: rows in use, at most `rows`; null = all
};

/// Rows one after the other, row_elements apart.
inline TensorRows packed_rows(
        const void* data,
        bool bf16,
        int64_t batch,
        int64_t rows,
        int64_t columns,
        int64_t row_elements) {
    TensorRows packed;
    packed.data = data;
    packed.bf16 = bf16;
    packed.columns = columns;
    packed.rows = rows;
    packed.batch = batch;
    packed.row_bytes = 2 * row_elements;
    packed.batch_bytes = packed.row_bytes * rows;
    return packed;
}

/// Bytes that every row's start is a multiple of, at most 16.
int alignment_of(const TensorRows& rows);

/// True where a tensor map can describe the rows as they lie.
bool can_map(const TensorRows& rows);

/// Boxes of box_rows rows x box_columns (16, 32 or 64) columns, swizzled over the row's width,
/// zeros outside the tensor.
CUtensorMap make_tensor_map(const TensorRows& rows, int box_rows, int box_columns);

} // namespace faiss_flash::cuda
