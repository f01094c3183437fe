/// The BLAS library, called from inside parallel regions.
#pragma once

#include <cstdint>

namespace faiss_flash::cpu {

/// products [n x k] = rows [n x d] . columns [k x d]^T, all packed; single-threaded by its callers.
void sgemm(
        const float* rows, int64_t n, const float* columns, int64_t k, int64_t d, float* products);

/// While one lives, an OpenBLAS that runs threads of its own is told to use one a call: the callers
/// are parallel already. OpenBLAS's OpenMP build knows that by itself and is left alone.
class SingleThreadedBlas {
   public:
    SingleThreadedBlas();
    ~SingleThreadedBlas();
    SingleThreadedBlas(const SingleThreadedBlas&) = delete;
    SingleThreadedBlas& operator=(const SingleThreadedBlas&) = delete;

   private:
    int restore_ = 0; // threads to go back to, 0 = nothing changed
};

} // namespace faiss_flash::cpu
