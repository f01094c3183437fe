/// What an inverted file with a product quantizer makes of its rows: their codes, and the table
/// that its searches look up.
#pragma once

#include <faiss_flash/kmeans.h>

#include <cstdint>
#include <functional>
#include <string>

namespace faiss_flash {

/// Codebooks of a product quantizer, [subspaces x ksub x dsub]; a row has subspaces * dsub columns.
struct Codebooks {
    const float* data = nullptr;
    int64_t subspaces = 0;
    int64_t ksub = 0; ///< at most 256: a code is a byte
    int64_t dsub = 0;
};

/// The centroids of an inverted file and the list of each row.
struct Lists {
    const float* centroids = nullptr; ///< [nlist x d], or null: rows are encoded as they are
    int64_t nlist = 0;
    const int64_t* of_row = nullptr; ///< [n]
};

/// Codes of rows [n x d], float32 on the host; with lists, of each row less its list's centroid (in
/// float32, as FAISS does). Exact: the nearest codebook entry in float64, ties to the lowest.
/// @param codes  row i's [subspaces] bytes at codes + i * stride
/// @param poll   as in assign()
/// Throws InvalidArgument naming the argument for bad input, rows with a NaN or an Inf included;
/// then no code is written.
FAISS_FLASH_API void encode(
        const VectorView& rows,
        const Lists& lists,
        const Codebooks& codebooks,
        uint8_t* codes,
        int64_t stride,
        const std::string& device = "auto",
        const std::function<void()>& poll = nullptr);

/// |y|^2 + 2 <c, y> of each centroid c's part and each codebook entry y of that sub-space: what
/// FAISS's IndexIVFPQ::precomputed_table holds (IndexIVFPQ.h describes its use).
/// @param centroids  [nlist x d]
/// @param table      [nlist x subspaces x ksub]
FAISS_FLASH_API void residual_table(
        const float* centroids, int64_t nlist, const Codebooks& codebooks, float* table);

} // namespace faiss_flash
