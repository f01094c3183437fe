/// Assignment on the device: for every point the centroid of the highest score, without the
/// distance matrix.
///
/// score(i, k) = x_i . c_k - |c_k|^2 / 2 (L2) or x_i . c_k (inner product): products of f16 or bf16
/// values, summed in float32 by the tensor cores. Nothing here waits for the device.
#pragma once

#include <faiss_flash/cuda/assign/candidate_lists.h>
#include <faiss_flash/cuda/assign/plan.h>
#include <faiss_flash/cuda/runtime/buffer.h>
#include <faiss_flash/cuda/runtime/tensor_map.h>
#include <faiss_flash/kmeans.h>

#include <cstdint>

namespace faiss_flash::cuda {

/// Centroids as the kernels read them: in the points' type, rows padded with zeros to 16 bytes, and
/// the bias of each. Takes K (2 d + 4) bytes a batch element, K (2 d + 32)
/// more for d <= 32.
struct CentroidTable {
    CentroidTable() = default;
    /// Room for a table; folds: with folded biases where d allows. Throws InvalidArgument for sizes
    /// out of range.
    CentroidTable(
            int64_t batch,
            int64_t k,
            int64_t d,
            bool bf16,
            Metric metric,
            cudaStream_t stream,
            bool folds = true);

    /// Bytes of device memory that one takes.
    static int64_t bytes(int64_t batch, int64_t k, int64_t d, bool folds = true);

    int64_t batch = 0;
    int64_t k = 0;
    int64_t d = 0;
    bool bf16 = false;
    Metric metric = Metric::l2;
    bool half_square = false; ///< no score of a row passes half its square: L2, equal scales
    int64_t row_elements = 0; ///< d rounded up to 8
    int64_t padded_k = 0;     ///< k rounded up to the largest tile
    Buffer<uint16_t> rows;    ///< [batch x k x row_elements]
    Buffer<float> bias;       ///< [batch x padded_k], -inf from k on
    Buffer<uint8_t> folded;   ///< d <= 32: rows and biases again, as sm90/folded_bias.cuh wants
    Buffer<float> reach;      ///< [batch] length of the longest centroid; d <= 32
};

/// How centroids are moved and scaled before they are rounded, and how far they are off then.
/// Values are (c - mean) s for a power of two s that brings the largest to 2^13 .. 2^14.
struct Centring {
    const float* mean = nullptr;             ///< [d] on the device
    const float* point_scale = nullptr;      ///< of the points: scores are in units of both scales
    const float* reference = nullptr;        ///< [2] of the points: exact/points.h
    struct CentroidBounds* bounds = nullptr; ///< filled, in device memory, as are
    float* bias = nullptr;                   ///< [k] biases alone, and
    float* errors =
            nullptr; ///< [k] what is added to the table's, unless it is folded: see exact/assign.h
};

/// Of all centroids, in scaled units, rounded up.
struct CentroidBounds {
    float largest;  ///< |c_j - mean_j|, not scaled
    float length;   ///< |c - mean|
    float residual; ///< what rounding took away: |exact - rounded|
    float bias;     ///< magnitude
};

/// Fills a table from centroids [batch x k x d], float32 on the device, packed; rounded to f16 or
/// bf16. The biases are those of the rounded values.
void prepare_centroids(const float* centroids, CentroidTable& table, cudaStream_t stream);

/// The same with centroids of one problem of f16 points that were centred. The biases are those of
/// the exact values: what is left out of the scores is bounded by `bounds`. Of equal centroids only
/// the lowest id takes part (duplicates.h).
void prepare_centred(
        const float* centroids,
        const Centring& centring,
        CentroidTable& table,
        cudaStream_t stream);

/// Device arrays [batch x n] that assign() fills.
struct AssignOutput {
    float* best = nullptr;   ///< highest score
    float* second = nullptr; ///< second highest (equal to best for a tie); null = not wanted
    int32_t* ids = nullptr;  ///< of the highest score, ties to the lowest id
};

AssignShape shape_of(
        const TensorRows& points, const CentroidTable& centroids, const AssignOutput& output);

/// Bytes of device memory that assign() takes by the plan that it chooses.
int64_t assign_bytes(const AssignShape& shape);

/// points: [batch x n x d] on the device. Throws InvalidArgument where sizes do not fit the table,
/// Error where a launch fails.
void assign(
        const TensorRows& points,
        const CentroidTable& centroids,
        const AssignOutput& output,
        cudaStream_t stream);

/// The same by a plan of assign_plans().
void assign(
        const TensorRows& points,
        const CentroidTable& centroids,
        const AssignOutput& output,
        cudaStream_t stream,
        const AssignPlan& plan);

/// Lists the centroids whose scores reach the bar of a row, of lists.rows f16 rows of one problem,
/// of which points.row_count are in use. plan: of filter_plan().
void list_candidates(
        const TensorRows& points,
        const CentroidTable& centroids,
        const CandidateLists& lists,
        cudaStream_t stream,
        const AssignPlan& plan);

} // namespace faiss_flash::cuda
