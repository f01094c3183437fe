/// Assignment on the device: for every point the centroid of the highest score, without the
/// distance matrix.
///
/// score(i, k) = x_i . c_k - |c_k|^2 / 2 (L2) or x_i . c_k (inner product): products of f16 or bf16
/// values, summed in float32 by the tensor cores. Nothing here waits for the device.
#pragma once

#include <faiss_flash/cuda/runtime/buffer.h>
#include <faiss_flash/cuda/runtime/tensor_map.h>
#include <faiss_flash/kmeans.h>

#include <cstdint>

namespace faiss_flash::cuda {

/// Centroids as the kernels read them: in the points' type, rows padded with zeros to 16 bytes, and
/// the bias of each. Takes K (2 d + 4) bytes a batch element, K rounded up to tiles of 128.
struct CentroidTable {
    int64_t batch = 0;
    int64_t k = 0;
    int64_t d = 0;
    bool bf16 = false;
    int64_t row_elements = 0; ///< d rounded up to 8
    int64_t tiles = 0;
    Buffer<uint16_t> rows; ///< [batch x k x row_elements]
    Buffer<float> bias;    ///< [batch x tiles * 128], -inf from k on
};

/// centroids: [batch x k x d] float32 on the device, packed; rounded to f16 or bf16. The biases are
/// those of the rounded values. Throws InvalidArgument for sizes out of range.
CentroidTable prepare_centroids(
        const float* centroids,
        int64_t batch,
        int64_t k,
        int64_t d,
        bool bf16,
        Metric metric,
        cudaStream_t stream);

/// Device arrays [batch x n] that assign() fills.
struct AssignOutput {
    float* best = nullptr;   ///< highest score
    float* second = nullptr; ///< second highest (equal to best for a tie); null = not wanted
    int32_t* ids = nullptr;  ///< of the highest score, ties to the lowest id
};

/// Which kernel assign() takes.
enum class AssignKernel : uint8_t {
    automatic, ///< sm90 where it can, else generic
    sm90,      ///< Hopper; d <= 256, rows aligned to 16 bytes
    generic,   ///< sm_80 and later, anything
};

/// True where this kernel can run on these points on the current device.
bool can_assign(AssignKernel kernel, const TensorRows& points);

/// points: [batch x n x d] on the device. Throws InvalidArgument where sizes do not fit the table
/// or the kernel cannot take the points, Error where a launch fails.
void assign(
        const TensorRows& points,
        const CentroidTable& centroids,
        const AssignOutput& output,
        cudaStream_t stream,
        AssignKernel kernel = AssignKernel::automatic);

} // namespace faiss_flash::cuda
