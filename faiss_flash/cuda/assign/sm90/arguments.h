/// What the Hopper kernels are launched with.
#pragma once

#include <faiss_flash/cuda/assign/candidate_lists.h>

#include <cuda.h>

#include <cstdint>

namespace faiss_flash::cuda::sm90 {

struct Arguments {
    CUtensorMap points;    ///< [batch x n x d]
    CUtensorMap centroids; ///< [batch x k x d]
    const float* bias;     ///< [batch x bias_batch], -inf from k on
    int64_t bias_batch;
    const uint8_t* folded; ///< centroids and biases of d <= 32: folded_bias.cuh
    const float* reach;    ///< [batch] longest centroid; with folded biases
    bool half_square;      ///< with folded biases
    float* best;           ///< [splits x batch x n] highest score
    float* second;         ///< [splits x batch x n] second highest, or null
    int32_t* ids;          ///< [splits x batch x n]
    int32_t n;
    int32_t d;
    int32_t batch;
    int32_t point_tiles;     ///< of one problem
    int32_t tiles;           ///< centroid tiles
    int32_t tiles_per_split; ///< centroid tiles that one piece of work goes over
    int32_t splits;
    int32_t work;             ///< batch * point_tiles * splits pieces
    const int32_t* row_count; ///< points in use of the only problem; null = n
    CandidateLists lists;     ///< of a filter pass, instead of best, second and ids
};

} // namespace faiss_flash::cuda::sm90
