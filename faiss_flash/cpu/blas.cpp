#include <faiss_flash/cpu/blas.h>

extern "C" {
// The Fortran interface is the one that every BLAS has.
int sgemm_(
        const char* transa,
        const char* transb,
        const int* m,
        const int* n,
        const int* k,
        const float* alpha,
        const float* a,
        const int* lda,
        const float* b,
        const int* ldb,
        const float* beta,
        float* c,
        const int* ldc);
// OpenBLAS's own; absent (null) in other libraries.
__attribute__((weak)) int openblas_get_parallel();
__attribute__((weak)) int openblas_get_num_threads();
__attribute__((weak)) void openblas_set_num_threads(int threads);
}

namespace faiss_flash::cpu {

void sgemm(
        const float* rows, int64_t n, const float* columns, int64_t k, int64_t d, float* products) {
    const int in = static_cast<int>(n);
    const int ik = static_cast<int>(k);
    const int id = static_cast<int>(d);
    const float one = 1;
    const float zero = 0;
    sgemm_("T", "N", &ik, &in, &id, &one, columns, &id, rows, &id, &zero, products, &ik);
}

SingleThreadedBlas::SingleThreadedBlas() {
    constexpr int kOwnThreads = 1;
    if (openblas_get_parallel && openblas_get_parallel() == kOwnThreads) {
        restore_ = openblas_get_num_threads();
        openblas_set_num_threads(1);
    }
}

SingleThreadedBlas::~SingleThreadedBlas() {
    if (restore_ > 0) {
        openblas_set_num_threads(restore_);
    }
}

} // namespace faiss_flash::cpu
