/// Assignment on the device: for every point the centroid of the highest score, without the
/// distance matrix.
///
/// score(i, k) = x_i . c_k - |c_k|^2 / 2 (L2) or x_i . c_k (inner product): products of f16 or bf16
/// values, summed in float32 by the tensor cores. Nothing here waits for the device.
#pragma once

#include <faiss_flash/cuda/assign/candidate_lists.h>
#include <faiss_flash/cuda/assign/plan.h>
#include <faiss_flash/cuda/runtime/arena.h>
#include <faiss_flash/cuda/runtime/tensor_map.h>
#include <faiss_flash/kmeans.h>

#include <cstdint>

namespace faiss_flash::cuda {

struct DuplicateTable;

/// Centroids as the kernels read them: in the points' type, rows padded with zeros to 16 bytes, and
/// the bias of each. Takes K (2 d + 4) bytes a batch element, K (2 d + 32)
/// more for d <= 32.
struct TensorCentroids {
    /// Room for a table; may_fold: with folded biases where d allows. Throws InvalidArgument for
    /// sizes out of range.
    TensorCentroids(
            int64_t batch,
            int64_t k,
            int64_t d,
            bool bf16,
            Metric metric,
            Arena& arena,
            bool may_fold = true);

    int64_t batch, k, d;
    bool bf16;
    Metric metric;
    bool folds;                ///< has folded biases: d <= 32
    bool half_square = false;  ///< no score of a row passes half its square: L2, equal scales
    int64_t row_elements;      ///< d rounded up to 8
    int64_t padded_k;          ///< k rounded up to the largest tile
    uint16_t* rows;            ///< [batch x k x row_elements]
    float* bias;               ///< [batch x padded_k], -inf from k on
    uint8_t* folded = nullptr; ///< rows and biases again, as sm90/folded_bias.cuh wants,
    float* reach = nullptr;    ///< and [batch] length of the longest centroid; null unless folds
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
void prepare_centroids(const float* centroids, TensorCentroids& table, cudaStream_t stream);

/// The same with centroids of one problem of f16 points that were centred. The biases are those of
/// the exact values: what is left out of the scores is bounded by `bounds`. Of equal centroids only
/// the lowest id takes part (duplicates.h, whose table for k centroids is filled).
void prepare_centred(
        const float* centroids,
        const Centring& centring,
        const DuplicateTable& duplicates,
        TensorCentroids& table,
        cudaStream_t stream);

/// Device arrays [batch x n] that find_best() fills.
struct AssignOutput {
    float* best = nullptr;   ///< highest score
    float* second = nullptr; ///< second highest (equal to best for a tie); null = not wanted
    int32_t* ids = nullptr;  ///< of the highest score, ties to the lowest id
};

AssignShape shape_of(
        const TensorRows& points, const TensorCentroids& centroids, const AssignOutput& output);

/// How find_best() goes about a shape, and memory for the results of parts of the centroids.
struct AssignWorkspace {
    /// For no points.
    AssignWorkspace() = default;
    /// By the plan that suits the shape best,
    AssignWorkspace(const AssignShape& shape, Arena& arena);
    /// or by one of assign_plans().
    AssignWorkspace(const AssignPlan& plan, const AssignShape& shape, Arena& arena);

    AssignPlan plan;
    int64_t rows = 0;    ///< batch * n of the shape: the most that fit
    bool second = false; ///< so can second best scores
    AssignOutput parts;  ///< [splits x rows] each; null for one split
};

/// points: [batch x n x d] on the device, no more than the workspace was made for. Throws
/// InvalidArgument where sizes do not fit the table or the workspace, Error where a launch fails.
void find_best(
        const TensorRows& points,
        const TensorCentroids& centroids,
        const AssignOutput& output,
        const AssignWorkspace& workspace,
        cudaStream_t stream);

/// Lists the centroids whose scores reach the bar of a row, of lists.rows f16 rows of one problem,
/// of which points.row_count are in use. plan: of filter_plan().
void list_candidates(
        const TensorRows& points,
        const TensorCentroids& centroids,
        const CandidateLists& lists,
        cudaStream_t stream,
        const AssignPlan& plan);

} // namespace faiss_flash::cuda
