/// Which variants of the CPU kernels this machine can run: the one place to add an instruction set.
#include <faiss_flash/cpu/codes.h>
#include <faiss_flash/cpu/narrow.h>
#include <faiss_flash/cpu/row_ops.h>
#include <faiss_flash/cpu/scores.h>

#ifdef FAISS_FLASH_X86
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace faiss_flash::cpu {

extern const RowOps row_ops_baseline;
extern const ScoreKernel score_kernel_blas;
#ifdef FAISS_FLASH_X86
extern const RowOps row_ops_avx2;
extern const RowOps row_ops_avx512;
extern const ScoreKernel score_kernel_avx2;
extern const ScoreKernel score_kernel_avx512;
extern const CodeKernel code_kernel_avx2;
extern const CodeKernel code_kernel_avx512;
extern const CodeKernel code_kernel_avxvnni;
extern const CodeKernel code_kernel_avx512vnni;
extern const CodeKernel code_kernel_amx;
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

#ifdef FAISS_FLASH_X86
bool has_avx512vnni() {
    return has_avx512() && __builtin_cpu_supports("avx512vnni");
}

// Compilers' __builtin_cpu_supports knew these late: CPUID leaf 7 as Intel's manual has it.
struct Leaf7 {
    unsigned edx = 0, eax_of_1 = 0;
    Leaf7() {
        unsigned eax, ebx, ecx, unused;
        __get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx);
        __get_cpuid_count(7, 1, &eax_of_1, &ebx, &ecx, &unused);
    }
};

bool has_avxvnni() {
    return has_avx2() && (Leaf7().eax_of_1 >> 4 & 1) != 0;
}

/// The operating system must let the process use the tiles' registers, and is asked.
bool has_amx() {
    constexpr long kRequestPermission = 0x1023; // arch_prctl's ARCH_REQ_XCOMP_PERM
    constexpr long kTileData = 18;
    const unsigned edx = Leaf7().edx;
    const bool tiles = (edx >> 24 & 1) != 0;
    const bool int8 = (edx >> 25 & 1) != 0;
    return tiles && int8 && has_avx512() &&
           syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
}
#endif

template <class Kernel>
const Kernel* first_of(const std::vector<const Kernel*>& kernels) {
    return kernels.empty() ? nullptr : kernels.front();
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

std::vector<const CodeKernel*> code_kernels() {
    std::vector<const CodeKernel*> kernels;
#ifdef FAISS_FLASH_X86
    if (has_amx()) {
        kernels.push_back(&code_kernel_amx);
    }
    if (has_avx512vnni()) {
        kernels.push_back(&code_kernel_avx512vnni);
    }
    if (has_avx512()) {
        kernels.push_back(&code_kernel_avx512);
    }
    if (has_avxvnni()) {
        kernels.push_back(&code_kernel_avxvnni);
    }
    if (has_avx2()) {
        kernels.push_back(&code_kernel_avx2);
    }
#endif
    return kernels;
}

const CodeKernel* code_kernel() {
    static const CodeKernel* best = first_of(code_kernels());
    return best;
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
    static const NarrowKernel* best = first_of(narrow_kernels());
    return best;
}

} // namespace faiss_flash::cpu
