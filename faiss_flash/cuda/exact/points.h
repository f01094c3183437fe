/// Points on the device, as the exact assignment needs them: the float32 rows, and a centred,
/// scaled f16 copy with the length of each row and of what rounding took from it.
#pragma once

#include <faiss_flash/core/points.h>
#include <faiss_flash/cuda/runtime/buffer.h>
#include <faiss_flash/cuda/runtime/tensor_map.h>

#include <cstdint>

namespace faiss_flash::cuda {

/// What brings a problem's points near zero and into range: on the device, of each of a batch.
struct Scaling {
    Scaling(int64_t batch, int64_t d, cudaStream_t stream);
    /// Bytes of device memory that one takes for each problem.
    static int64_t bytes(int64_t d) { return 4 * d + 8; }
    /// From rows [batch x n x d]; integers: values are, and the mean shall be.
    void find(const float* rows, int64_t n, bool integers, cudaStream_t stream);

    int64_t batch, d;
    Buffer<float> mean;        ///< [batch x d]
    Buffer<float> mean_length; ///< [batch]
    Buffer<float> scale;       ///< [batch] powers of two
};

/// True where values are integers, and stay exact in f16 less an integer.
bool has_integers(const Points& points);

class DevicePoints {
   public:
    /// Copies rows first .. first + n - 1 in any type and layout, then makes the copy. Takes
    /// n (4 d + 2 d + 8) bytes. Waits only for the host's own memory to be read.
    DevicePoints(const Points& points, int64_t first, int64_t n, cudaStream_t stream);

    /// Bytes of device memory for n points.
    static int64_t bytes(int64_t n, int64_t d);

    int64_t n() const { return n_; }
    int64_t d() const { return d_; }
    const float* rows() const { return rows_.get(); }                       ///< [n x d]
    const float* mean() const { return scaling_.mean.get(); }               ///< [d]
    const float* scale() const { return scaling_.scale.get(); }             ///< one power of two
    const float* mean_length() const { return scaling_.mean_length.get(); } ///< one
    const float* lengths() const { return lengths_.get(); } ///< [n] of f16 rows, rounded up
    /// [2]: lengths and residuals that most rows stay below
    const float* reference() const { return reference_.get(); }
    const float* residuals() const { return residuals_.get(); } ///< [n] |exact - f16|, rounded up
    TensorRows tensor() const;                                  ///< the f16 rows

   private:
    int64_t n_, d_, row_elements_;
    Buffer<float> rows_;
    Buffer<uint16_t> halves_;
    Scaling scaling_;
    Buffer<float> lengths_, residuals_, reference_;
};

} // namespace faiss_flash::cuda
