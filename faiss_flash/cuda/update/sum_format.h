/// What sums are of and how they are kept: rows on the device, and a clustering's Format there.
#pragma once

#include <faiss_flash/core/shard.h>
#include <faiss_flash/cuda/runtime/arena.h>
#include <faiss_flash/cuda/update/layout.h>

#include <cstdint>

namespace faiss_flash::cuda {

/// Rows of one or more problems on the device, one problem after the other.
struct DeviceRows {
    const void* data;
    DType dtype; ///< f32, f16 or bf16
    int64_t batch, n, d;
    int64_t row_bytes; ///< from row to row
};

struct SumFormat {
    /// rows: DeviceRows' type.
    SumFormat(const Format& format, const Workload& workload, DType rows, Arena& arena);
    /// Fills the arrays. Waits only for the host's own memory to be read.
    void load(const Format& format, cudaStream_t stream);

    Workload workload;
    int limbs;            ///< of a column's sum
    bool has_squares;     ///< l2 without weights:
    int square_limbs;     ///< of a column's squares
    int limb_bits;        ///< F of both: it follows from n
    double limb_step;     ///< 2^F
    bool in_float;        ///< sums by float32 arithmetic are exact
    bool vectors;         ///< rows can be read 16 bytes at a time
    SumLayout layout;     ///< of a cluster's columns
    SumsLayout sums;      ///< of all
    double* units;        ///< [batch x (d + 1)] 1 / scale of the first limb
    float* upper_scale;   ///< [batch x (d + 1)] scale of the upper piece of the first limb
    double* square_units; ///< [batch x d] as units, of squares; null without them
};

/// Columns of a lane where rows are not read in vectors.
inline constexpr int kSingles = 4;

/// What float32 can round to an integer by an addition: bits of the upper piece of a first limb.
inline constexpr int kUpperBits = 22;

} // namespace faiss_flash::cuda
