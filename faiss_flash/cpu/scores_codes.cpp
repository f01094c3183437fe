/// Compiled once per instruction set with FAISS_FLASH_ISA naming it, as scores_panels.cpp is.
///
/// Scores in 8 bits of a few rows x a panel of centroids, the sums in registers.
///
/// 1. For each panel (6 KiB at d = 128, 37 KiB at d = 768: it stays in the first-level cache),
/// 2.   for each few rows: the sums start at the panel's offsets and take eight columns a step,
/// 3.   the scores' largest is compared with the row's bar (coded_scores.h).
/// Budget a vector of centroids and eight columns: `vpdpbusd` twice. Without it `vpmaddubsw` twice,
/// an addition in 16 bits, `vpmaddwd` by ones and an addition in 32: of codes of 7 bits, four of
/// whose products a 16-bit number holds (2 * 2 * 127 * 63 < 2^15). IO a block of rows: all
/// centroids once from the second-level cache, d bytes each.
#include <faiss_flash/cpu/coded_scores.h>

namespace faiss_flash::cpu {

namespace {

// As many sums as there are registers for; four columns a product, or two times four.
// In assembly: the compiler copies or spills the sums around the intrinsics of these instructions.
#if defined(__AVX512VNNI__) || defined(__AVXVNNI__)
#ifdef __AVX512VNNI__
#define FAISS_FLASH_DPBUSD "vpdpbusd"
#else
#define FAISS_FLASH_DPBUSD "%{vex%} vpdpbusd"
#endif
constexpr int64_t kPanelVectors = 3;
constexpr int64_t kTileRows = kLanes == 16 ? 8 : 4;
constexpr int64_t kGroups = 1;
constexpr int kLevels = 127;
template <int64_t Vectors>
inline Integers add_products(Integers sum, const Integers* x, const Integers* c) {
    asm(FAISS_FLASH_DPBUSD " %[c], %[x], %[sum]" : [sum] "+v"(sum) : [x] "v"(x[0]), [c] "vm"(c[0]));
    return sum;
}
#else
constexpr int64_t kPanelVectors = kLanes == 16 ? 3 : 4;
constexpr int64_t kTileRows = kLanes == 16 ? 8 : 2;
constexpr int64_t kGroups = 2;
constexpr int kLevels = 63;
template <int64_t Vectors>
inline Integers add_products(Integers sum, const Integers* x, const Integers* c) {
    constexpr int32_t kTwoOnes = 0x00010001;
    const Integers ones = all(kTwoOnes);
    Integers pairs;
    Integers more;
    asm("vpmaddubsw %[c0], %[x0], %[pairs]\n\t"
        "vpmaddubsw %[c1], %[x1], %[more]\n\t"
        "vpaddw %[more], %[pairs], %[pairs]\n\t"
        "vpmaddwd %[ones], %[pairs], %[pairs]\n\t"
        "vpaddd %[pairs], %[sum], %[sum]"
        : [sum] "+v"(sum), [pairs] "=&v"(pairs), [more] "=&v"(more)
        : [c0] "m"(c[0]), [c1] "m"(c[Vectors]), [x0] "v"(x[0]), [x1] "v"(x[1]), [ones] "v"(ones));
    return sum;
}
#endif
constexpr int64_t kPanel = kPanelVectors * kLanes;
constexpr int64_t kStep = 4 * kGroups; // columns

/// Four columns of a row, for all centroids.
inline Integers four_codes(const uint8_t* codes) {
    int32_t four;
    __builtin_memcpy(&four, codes, sizeof four);
    return all(four);
}

template <int64_t Vectors>
void score_tile(
        const CodedRows& rows, int64_t first_row, int64_t columns, const float* panel, Bars& bars) {
    constexpr int64_t kWidth = Vectors * kLanes;
    const auto* offsets =
            reinterpret_cast<const Integers*>(panel + CodedCentroids::kOffset * kWidth);
    const auto* c = reinterpret_cast<const Integers*>(panel + CodedCentroids::kCodes * kWidth);
    const uint8_t* codes = rows.codes + first_row * rows.stride;
    Integers sums[kTileRows][Vectors];
    for (auto& of_row : sums) {
        for (int64_t v = 0; v < Vectors; v++) {
            of_row[v] = offsets[v];
        }
    }
    for (int64_t j = 0; j < columns; j += kStep, c += kGroups * Vectors) {
        for (int64_t r = 0; r < kTileRows; r++) {
            Integers x[kGroups];
            for (int64_t g = 0; g < kGroups; g++) {
                x[g] = four_codes(codes + r * rows.stride + j + 4 * g);
            }
            for (int64_t v = 0; v < Vectors; v++) {
                sums[r][v] = add_products<Vectors>(sums[r][v], x, c + v);
            }
        }
    }
#pragma GCC unroll 8
    for (int64_t r = 0; r < kTileRows; r++) {
        bars.compare<Vectors>(first_row + r, sums[r]);
    }
}

void score(
        const CodedRows& rows, int64_t count, const CodedCentroids& centroids, Candidates* lists) {
    Bars bars(rows, count, lists);
    const int64_t columns = centroids.columns;
    const float* panel = centroids.panels;
    for_panels<kPanelVectors>(centroids.k, [&](int64_t first, auto vectors) {
        constexpr int64_t kVectors = decltype(vectors)::kValue;
        bars.begin<kVectors>(panel, first);
        for (int64_t i = 0; i < count; i += kTileRows) {
            score_tile<kVectors>(rows, i, columns, panel, bars);
        }
        panel += kVectors * kLanes * (CodedCentroids::kCodes + columns / 4);
    });
}

} // namespace

extern const CodeKernel FAISS_FLASH_JOIN(code_kernel_, FAISS_FLASH_ISA);
const CodeKernel FAISS_FLASH_JOIN(code_kernel_, FAISS_FLASH_ISA){
        FAISS_FLASH_TEXT(FAISS_FLASH_ISA),
        kLevels,
        kLevels + 1,
        kPanel,
        kLanes,
        8,
        kStep,
        center,
        encode<kLevels, kLevels + 1>,
        score};

} // namespace faiss_flash::cpu
