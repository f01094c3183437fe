/// Points on the device, as the exact assignment needs them: the float32 rows, and a centred,
/// scaled f16 copy with the size of each row (row_size.cuh).
#pragma once

#include <faiss_flash/core/points.h>
#include <faiss_flash/cuda/runtime/buffer.h>
#include <faiss_flash/cuda/runtime/tensor_map.h>
#include <faiss_flash/cuda/scaling.h>

#include <cstdint>

namespace faiss_flash::cuda {

class DevicePoints {
   public:
    /// Copies rows first .. first + n - 1 in any type and layout, then makes the copy. Takes
    /// n (4 d + 2 d + 4) bytes. Waits only for the host's own memory to be read.
    DevicePoints(const Points& points, int64_t first, int64_t n, cudaStream_t stream);

    /// Bytes of device memory for n points.
    static int64_t bytes(int64_t n, int64_t d);

    int64_t n() const { return n_; }
    int64_t d() const { return d_; }
    const float* rows() const { return rows_.get(); }                       ///< [n x d]
    const float* mean() const { return scaling_.mean.get(); }               ///< [d]
    const float* scale() const { return scaling_.scale.get(); }             ///< one power of two
    const float* mean_length() const { return scaling_.mean_length.get(); } ///< one
    const uint32_t* sizes() const { return sizes_.get(); }                  ///< [n] RowSizes
    const float* reference() const { return reference_.get(); } ///< [2] a size of most rows
    TensorRows tensor() const;                                  ///< the f16 rows

   private:
    int64_t n_, d_, row_elements_;
    Buffer<float> rows_;
    Buffer<uint16_t> halves_;
    Scaling scaling_;
    Buffer<uint32_t> sizes_;
    Buffer<float> reference_;
};

} // namespace faiss_flash::cuda
