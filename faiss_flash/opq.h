/// Optimised product quantization: the rotation after which a product quantizer loses least.
///
/// Method: Ge, He, Ke, Sun, "Optimized product quantization", 2013, the non-parametric solution.
/// Alternately, codebooks are trained on the rotated points, and the rotation becomes the one that
/// brings the points closest to their codes (orthogonal Procrustes: an SVD of d x d_out numbers).
#pragma once

#include <faiss_flash/kmeans.h>

#include <cstdint>
#include <vector>

namespace faiss_flash {

struct OpqInput {
    VectorView points;           ///< [n x d] on the host; their mean is subtracted first
    int64_t d_out = 0;           ///< columns after the rotation
    int64_t subspaces = 0;       ///< divides d_out
    int64_t ksub = 256;          ///< centroids of a sub-space, <= n
    std::vector<float> rotation; ///< [d_out x max(d, d_out)] with orthonormal rows: the first one
    int niter = 50;              ///< alternations; 0: the first rotation
    int niter_first = 40;        ///< k-means iterations of the first of them,
    int niter_later = 4;         ///< and of the others, from the codebooks before
};

struct OpqResult {
    std::vector<float> rotation;  ///< [d_out x d]
    std::vector<float> codebooks; ///< [subspaces x ksub x d_out / subspaces]
    std::vector<double> errors;   ///< mean squared distance to the codes in each alternation
};

/// @param options  of the k-means runs; niter and return_assignment are set here
/// The result is the same for any number of threads, on one machine and with one BLAS.
/// Throws InvalidArgument naming the argument for bad input.
FAISS_FLASH_API OpqResult train_opq(const OpqInput& input, const KMeansOptions& options = {});

} // namespace faiss_flash
