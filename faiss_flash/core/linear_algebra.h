/// Products and decompositions of float32 matrices, by BLAS and LAPACK. All matrices are packed,
/// row after row. BLAS works in one thread a call: its own threads would stay awake for a while and
/// be in the way of OpenMP's.
#pragma once

#include <cstdint>
#include <vector>

namespace faiss_flash {

/// While one lives, an OpenBLAS that runs threads of its own is told to use one a call: the callers
/// are parallel already. OpenBLAS's OpenMP build knows that by itself and is left alone.
class SingleThreadedBlas {
   public:
    SingleThreadedBlas();
    ~SingleThreadedBlas();
    SingleThreadedBlas(const SingleThreadedBlas&) = delete;
    SingleThreadedBlas& operator=(const SingleThreadedBlas&) = delete;

   private:
    bool counts_ = false; // among those that the library is told for
};

/// products [n x k] = rows [n x d] . matrix [d x k], by the calling thread.
void multiply_by(
        const float* rows, int64_t n, const float* matrix, int64_t k, int64_t d, float* products);

/// products [n x k] = rows [n x d] . columns [k x d]^T, by all threads; the same bits for any
/// number of them.
void multiply_in_parallel(
        const float* rows, int64_t n, const float* columns, int64_t k, int64_t d, float* products);

/// products [p x q] = a [n x p]^T . b [n x q], by all threads; the same bits for any number of
/// them.
void multiply_columns(
        const float* a, int64_t p, const float* b, int64_t q, int64_t n, float* products);

/// The matrix [p x q], p <= q, with orthonormal rows that is nearest to `matrix`: U V^T of its SVD.
/// Throws Error where the decomposition does not converge.
std::vector<float> nearest_rotation(const std::vector<float>& matrix, int64_t p, int64_t q);

} // namespace faiss_flash
