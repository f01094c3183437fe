/// Which variants of the CPU kernels this machine can run: the one place to add an instruction set.
#include <faiss_flash/cpu/narrow.h>
#include <faiss_flash/cpu/row_ops.h>
#include <faiss_flash/cpu/scores.h>

namespace faiss_flash::cpu {

extern const RowOps row_ops_baseline;
extern const ScoreKernel score_kernel_blas;
#ifdef FAISS_FLASH_X86
extern const RowOps row_ops_avx2;
extern const RowOps row_ops_avx512;
extern const ScoreKernel score_kernel_avx2;
extern const ScoreKernel score_kernel_avx512;
extern const NarrowKernel narrow_avx2;
extern const NarrowKernel narrow_avx512;
#endif

namespace {

bool has_avx512() {
#ifdef FAISS_FLASH_X86
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
           __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl");
#else
    return false;
#endif
}

bool has_avx2() {
#ifdef FAISS_FLASH_X86
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
#else
    return false;
#endif
}

} // namespace

int row_ops_variants(const RowOps** variants, int capacity) {
    int count = 0;
    const auto add = [&](const RowOps& ops) {
        if (count < capacity) {
            variants[count++] = &ops;
        }
    };
#ifdef FAISS_FLASH_X86
    if (has_avx512()) {
        add(row_ops_avx512);
    }
    if (has_avx2()) {
        add(row_ops_avx2);
    }
#endif
    add(row_ops_baseline);
    return count;
}

const RowOps& row_ops() {
    static const RowOps* best = [] {
        const RowOps* first = nullptr;
        row_ops_variants(&first, 1);
        return first;
    }();
    return *best;
}

std::vector<const ScoreKernel*> score_kernels() {
    std::vector<const ScoreKernel*> kernels;
#ifdef FAISS_FLASH_X86
    if (has_avx512()) {
        kernels.push_back(&score_kernel_avx512);
    }
    if (has_avx2()) {
        kernels.push_back(&score_kernel_avx2);
    }
#endif
    kernels.push_back(&score_kernel_blas);
    return kernels;
}

const ScoreKernel& score_kernel() {
    static const ScoreKernel* best = score_kernels().front();
    return *best;
}

std::vector<const NarrowKernel*> narrow_kernels() {
    std::vector<const NarrowKernel*> kernels;
#ifdef FAISS_FLASH_X86
    if (has_avx512()) {
        kernels.push_back(&narrow_avx512);
    }
    if (has_avx2()) {
        kernels.push_back(&narrow_avx2);
    }
#endif
    return kernels;
}

const NarrowKernel* narrow_kernel() {
    static const NarrowKernel* best = [] {
        const auto kernels = narrow_kernels();
        return kernels.empty() ? nullptr : kernels.front();
    }();
    return best;
}

} // namespace faiss_flash::cpu
