/// Points on the device, as the exact assignment needs them: the rows in their own type, and a
/// centred, scaled f16 copy with the size of each row (row_size.cuh).
#pragma once

#include <faiss_flash/cuda/device_rows.h>
#include <faiss_flash/cuda/extremes.h>
#include <faiss_flash/cuda/runtime/arena.h>
#include <faiss_flash/cuda/runtime/tensor_map.h>
#include <faiss_flash/cuda/scaling.h>

#include <cstdint>

namespace faiss_flash::cuda {

class DevicePoints {
   public:
    /// Room for the copy of n rows. Takes n (2 d + 4) bytes.
    DevicePoints(int64_t n, int64_t d, Arena& arena);
    /// Makes the copy of rows, n of one problem, which must outlive this. Queued.
    void prepare(
            const DeviceRows& rows,
            const ColumnExtremes& extremes,
            Values values,
            cudaStream_t stream);

    /// Some of the rows, with all that has been prepared.
    DevicePoints part(const RowRange& rows) const;

    int64_t n() const { return n_; }
    int64_t d() const { return d_; }
    const DeviceRows& rows() const { return rows_; }                  ///< as they were given
    const float* mean() const { return scaling_.mean; }               ///< [d]
    const float* scale() const { return scaling_.scale; }             ///< one power of two
    const float* mean_length() const { return scaling_.mean_length; } ///< one
    const uint32_t* sizes() const { return sizes_; }                  ///< [n] RowSizes
    const float* reference() const { return reference_; }             ///< [2] a size of most rows
    TensorRows tensor() const;                                        ///< the f16 rows

   private:
    int64_t n_, d_, row_elements_;
    DeviceRows rows_{};
    uint16_t* halves_; ///< [n x row_elements]
    Scaling scaling_;
    uint32_t* sizes_;  ///< [n]
    float* reference_; ///< [2]
};

} // namespace faiss_flash::cuda
