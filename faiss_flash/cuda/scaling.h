/// What brings a problem's points near zero and into range of 16 bits.
#pragma once

#include <faiss_flash/core/points.h>
#include <faiss_flash/cuda/device_rows.h>
#include <faiss_flash/cuda/extremes.h>
#include <faiss_flash/cuda/runtime/arena.h>

#include <vector_types.h>

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
    /// From rows and their extremes. Queued.
    void find(
            const DeviceRows& rows,
            const ColumnExtremes& extremes,
            Values values,
            cudaStream_t stream);

    int64_t batch, d;
    float* mean;        ///< [batch x d]
    float* mean_length; ///< [batch]
    float* scale;       ///< [batch] powers of two

   private:
    int64_t parts_; ///< of the sample of a problem, each summed up by itself
    double2* sums_; ///< [batch x parts x d] of a part's values and of their squares
};

/// Raises largest [batch] to the largest finite |c_j - mean_j| of centroids [batch x k x d], mean
/// [batch x d]; all on the device.
void find_largest(
        const float* centroids,
        const float* mean,
        int64_t batch,
        int64_t k,
        int64_t d,
        float* largest,
        cudaStream_t stream);

} // namespace faiss_flash::cuda
