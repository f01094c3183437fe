/// What one pass over rows on the device finds of their columns.
#pragma once

#include <faiss_flash/core/format.h>
#include <faiss_flash/cuda/device_rows.h>
#include <faiss_flash/cuda/runtime/arena.h>

#include <cuda_runtime_api.h>

#include <cstdint>

namespace faiss_flash::cuda {

/// Of every column of each problem, on the device, in forms whose zero is that of no value: all are
/// raised by atomic maxima of integers.
struct ColumnExtremes {
    ColumnExtremes(int64_t batch, int64_t d, Arena& arena);

    /// Of all rows. Queued.
    void find(const DeviceRows& rows, cudaStream_t stream);

    /// The ranges of the values, as those of products with weights that are all 1; waits for the
    /// device. The largest of a column with a NaN or an Inf is infinite.
    RowFacts facts(cudaStream_t stream) const;

    ColumnExtremes of_problem(int64_t b) const;

    int64_t batch, d;
    uint32_t* high;     ///< [batch x d] ordered() of the largest value, and
    uint32_t* low;      ///< of the largest -value; what is not finite counts as 0 in both
    uint32_t* largest;  ///< [batch x d] bits of the largest magnitude, NaNs and Infs included
    uint32_t* smallest; ///< [batch x d] complement of one less than the bits of the smallest one
                        ///< that is not 0
};

#ifdef __CUDACC__
/// Integers in the order of float32 values; 0 is less than all of them.
__device__ inline uint32_t ordered(float value) {
    const uint32_t bits = __float_as_uint(value);
    return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}
__device__ inline float of_ordered(uint32_t order) {
    return __uint_as_float(order & 0x80000000u ? order & 0x7FFFFFFFu : ~order);
}
#endif

} // namespace faiss_flash::cuda
