/// What the Hopper kernel is launched with.
#pragma once

#include <cuda.h>

#include <cstdint>

namespace faiss_flash::cuda::sm90 {

struct Arguments {
    CUtensorMap points;    ///< [batch x n x d], box 64 x 128 x 1
    CUtensorMap centroids; ///< [batch x k x d], box 64 x 128 x 1
    const float* bias;     ///< [batch x tiles * 128], -inf from k on
    float* best;           ///< [batch x n] highest score
    float* second;         ///< [batch x n] second highest; read only where kSecond
    int32_t* ids;          ///< [batch x n]
    int32_t n;
    int32_t tiles;       ///< centroid tiles
    int32_t point_tiles; ///< of one problem
    int32_t work;        ///< point_tiles * batch
};

} // namespace faiss_flash::cuda::sm90
