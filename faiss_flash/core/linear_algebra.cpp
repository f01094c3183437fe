#include <faiss_flash/core/linear_algebra.h>

#include <faiss_flash/core/parallel.h>
#include <faiss_flash/kmeans.h>

#include <algorithm>
#include <mutex>
#include <string>

extern "C" {
// The Fortran interface is the one that every BLAS and LAPACK has.
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
int sgesvd_(
        const char* jobu,
        const char* jobvt,
        const int* m,
        const int* n,
        float* a,
        const int* lda,
        float* s,
        float* u,
        const int* ldu,
        float* vt,
        const int* ldvt,
        float* work,
        const int* lwork,
        int* info);
// OpenBLAS's own; absent (null) in other libraries.
__attribute__((weak)) int openblas_get_parallel();
__attribute__((weak)) int openblas_get_num_threads();
__attribute__((weak)) void openblas_set_num_threads(int threads);
}

namespace faiss_flash {

namespace {

/// c [n x m] = b' a' in the terms of row-major matrices: BLAS sees each of them transposed.
void gemm(
        const char* transa,
        const char* transb,
        int64_t m,
        int64_t n,
        int64_t k,
        const float* a,
        int64_t lda,
        const float* b,
        int64_t ldb,
        float* c) {
    const int sizes[] = {
            static_cast<int>(m),
            static_cast<int>(n),
            static_cast<int>(k),
            static_cast<int>(lda),
            static_cast<int>(ldb)};
    const float one = 1;
    const float zero = 0;
    sgemm_(transa,
           transb,
           sizes,
           sizes + 1,
           sizes + 2,
           &one,
           a,
           sizes + 3,
           b,
           sizes + 4,
           &zero,
           c,
           sizes);
}

} // namespace

void multiply_by(
        const float* rows, int64_t n, const float* matrix, int64_t k, int64_t d, float* products) {
    gemm("N", "N", k, n, d, matrix, k, rows, d, products);
}

void multiply_in_parallel(
        const float* rows, int64_t n, const float* columns, int64_t k, int64_t d, float* products) {
    constexpr int64_t kRows = 1024; // of a call
    const SingleThreadedBlas single;
    for_each_range(n, kRows, [&](int64_t first, int64_t end) {
        gemm("T", "N", k, end - first, d, columns, d, rows + first * d, d, products + first * k);
    });
}

void multiply_columns(
        const float* a, int64_t p, const float* b, int64_t q, int64_t n, float* products) {
    constexpr int64_t kParts = 16; // of the rows, whose products are added up in order
    const SingleThreadedBlas single;
    const int64_t each = (n + kParts - 1) / kParts;
    std::vector<float> parts(static_cast<size_t>(kParts * p * q));
    for_each_range(kParts, 1, [&](int64_t part, int64_t /*end*/) {
        const int64_t first = std::min(n, part * each);
        const int64_t count = std::min(n, first + each) - first;
        float* product = parts.data() + part * p * q;
        gemm("N", "T", q, p, count, b + first * q, q, a + first * p, p, product);
    });
    for_each_range(p * q, q, [&](int64_t first, int64_t end) {
        for (int64_t i = first; i < end; i++) {
            double sum = 0;
            for (int64_t part = 0; part < kParts; part++) {
                sum += parts[static_cast<size_t>(part * p * q + i)];
            }
            products[i] = static_cast<float>(sum);
        }
    });
}

std::vector<float> nearest_rotation(const std::vector<float>& matrix, int64_t p, int64_t q) {
    // LAPACK's matrix is the transpose, [q x p] = U S V^T with U [q x p] and V^T [p x p].
    std::vector<float> a = matrix;
    std::vector<float> s(static_cast<size_t>(p));
    std::vector<float> u(static_cast<size_t>(q * p));
    std::vector<float> vt(static_cast<size_t>(p * p));
    const int rows = static_cast<int>(q);
    const int columns = static_cast<int>(p);
    int info = 0;
    const SingleThreadedBlas single;
    const auto decompose = [&](float* work, int size) {
        sgesvd_("S",
                "S",
                &rows,
                &columns,
                a.data(),
                &rows,
                s.data(),
                u.data(),
                &rows,
                vt.data(),
                &columns,
                work,
                &size,
                &info);
    };
    float wanted = 0;
    decompose(&wanted, -1); // asks for the size of the workspace
    std::vector<float> work(static_cast<size_t>(wanted) + 1);
    decompose(work.data(), static_cast<int>(work.size()));
    if (info != 0) {
        throw Error("the singular value decomposition failed (info=" + std::to_string(info) + ")");
    }
    std::vector<float> rotation(matrix.size());
    gemm("N", "N", q, p, p, u.data(), q, vt.data(), p, rotation.data());
    return rotation;
}

namespace {

/// Several threads of the process may want it at a time: the first tells the library and the last
/// takes it back.
struct BlasThreads {
    std::mutex mutex;
    int users = 0;
    int before = 0;
};

BlasThreads& blas_threads() {
    static auto* threads = new BlasThreads;
    return *threads;
}

} // namespace

SingleThreadedBlas::SingleThreadedBlas() {
    constexpr int kOwnThreads = 1;
    counts_ = openblas_get_parallel && openblas_get_parallel() == kOwnThreads;
    if (counts_) {
        BlasThreads& threads = blas_threads();
        const std::lock_guard<std::mutex> lock(threads.mutex);
        if (threads.users++ == 0) {
            threads.before = openblas_get_num_threads();
            openblas_set_num_threads(1);
        }
    }
}

SingleThreadedBlas::~SingleThreadedBlas() {
    if (counts_) {
        BlasThreads& threads = blas_threads();
        const std::lock_guard<std::mutex> lock(threads.mutex);
        if (--threads.users == 0) {
            openblas_set_num_threads(threads.before);
        }
    }
}

} // namespace faiss_flash
