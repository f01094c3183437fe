/// What brings a problem's points near zero and into range of 16 bits.
#pragma once

#include <faiss_flash/core/points.h>
#include <faiss_flash/cuda/runtime/arena.h>

#include <cstdint>

namespace faiss_flash::cuda {

/// What is known of points' values. A mean is chosen that keeps them exact in f16.
enum class Values : uint8_t {
    any,
    integers, ///< so is the mean
    halves,   ///< f16 or bf16: the mean of a column is 0 where it is small beside the spread
};

Values values_of(const Points& points);

/// On the device, of each problem of a batch.
struct Scaling {
    Scaling(int64_t batch, int64_t d, Arena& arena);
    /// From rows [batch x n x d].
    void find(const float* rows, int64_t n, Values values, cudaStream_t stream);

    int64_t batch, d;
    float* mean;        ///< [batch x d]
    float* mean_length; ///< [batch]
    float* scale;       ///< [batch] powers of two
};

/// Raises largest [batch] to the largest finite |x_j - mean_j| of rows [batch x n x d], mean
/// [batch x d]; all on the device.
void find_largest(
        const float* rows,
        const float* mean,
        int64_t batch,
        int64_t n,
        int64_t d,
        float* largest,
        cudaStream_t stream);

} // namespace faiss_flash::cuda
