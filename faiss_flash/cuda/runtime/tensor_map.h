/// Tensor maps: how the copy engine sees rows of 2-byte elements in device memory.
#pragma once

#include <cuda.h>

#include <cstdint>

namespace faiss_flash::cuda {

struct TensorRows {
    const void* data; ///< 16-byte aligned
    bool bf16;        ///< else f16
    int64_t columns;  ///< of a row
    int64_t rows;     ///< of a batch element
    int64_t batch;
    int64_t row_bytes;   ///< from row to row; a multiple of 16
    int64_t batch_bytes; ///< from batch element to the next; a multiple of 16
};

/// True where a tensor map can describe the rows as they lie.
bool can_map(const TensorRows& rows);

/// Boxes of 64 columns x box_rows rows, 128-byte swizzled, zeros outside the tensor.
CUtensorMap make_tensor_map(const TensorRows& rows, int box_rows);

} // namespace faiss_flash::cuda
