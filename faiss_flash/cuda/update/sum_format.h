/// What sums are of and how they are kept: rows on the device, and a clustering's Format there.
#pragma once

#include <faiss_flash/core/shard.h>
#include <faiss_flash/cuda/device_rows.h>
#include <faiss_flash/cuda/runtime/arena.h>
#include <faiss_flash/cuda/update/layout.h>

#include <cstdint>

namespace faiss_flash::cuda {

struct SumFormat {
    /// rows: DeviceRows' type.
    SumFormat(const Format& format, const Workload& workload, DType rows, Arena& arena);
    /// Fills the arrays, which lie one behind the other. Waits only for the host's own memory to be
    /// read.
    void load(const Format& format, cudaStream_t stream);

    Workload workload;
    int limbs;            ///< of a column's sum
    bool has_squares;     ///< l2 without weights:
    int square_limbs;     ///< of a column's squares
    int limb_bits;        ///< F of both: it follows from n
    double limb_step;     ///< 2^F
    bool in_float;        ///< sums by float32 arithmetic are exact
    SumLayout layout;     ///< of a cluster's columns
    SumsLayout sums;      ///< of all
    double* scales;       ///< [batch x (d + 1)] of the first limb
    double* units;        ///< [batch x (d + 1)] 1 / scale
    double* square_units; ///< [batch x d] as units, of squares; where there are any
};

/// What float32 can round to an integer by an addition: bits of the upper piece of a first limb.
inline constexpr int kUpperBits = 22;

} // namespace faiss_flash::cuda
