/// Compiled once per instruction set with FAISS_FLASH_ISA naming it, as row_ops.cpp is.
///
/// Scores of a few points x a panel of centroids in registers, never written to memory.
///
/// 1. For each panel (12 or 24 KiB at d = 128: it stays in the first-level cache),
/// 2.   for each few points: the accumulators start at the bias and take one FMA a column,
/// 3.   the largest of a row's scores is compared with the row's bar,
/// 4.   and only where it may win are the scores unpacked and offered.
/// Budget a column, AVX-512: 8 points x 48 centroids, 24 FMAs (12 cycles on two ports) against
/// 3 + 8 loads; AVX2, with half the registers: 4 x 24, 12 FMAs against 3 + 4 loads. The epilogue
/// costs 4 instructions a row and panel, 1 / d of the product's.
#include <faiss_flash/cpu/scores.h>

#include <faiss_flash/cpu/simd.h>

namespace faiss_flash::cpu {

namespace {

constexpr int64_t kPanelVectors = 3;
constexpr int64_t kPanel = kPanelVectors * kLanes;

/// Points of a tile: as many accumulators as there are registers for.
constexpr int64_t tile_rows(int64_t vectors) {
    return kLanes == 16 || vectors == 1 ? 8 : 4;
}

/// Unpacks a row's scores of a panel: rare, a few times a point.
template <int64_t Vectors>
__attribute__((noinline)) void offer_row(
        const Vector* scores, const float* panel, float length, int32_t first, Candidates& list) {
    constexpr int64_t kWidth = Vectors * kLanes;
    const float* fixed = panel + PackedCentroids::kFixed * kWidth;
    const float* slope = panel + PackedCentroids::kSlope * kWidth;
    Vector sure = all(-__builtin_inff());
    for (int64_t v = 0; v < Vectors; v++) {
        const Vector error =
                multiply_add(all(length), load(slope + v * kLanes), load(fixed + v * kLanes));
        sure = larger(sure, subtract(scores[v], add(error, error)));
    }
    raise(list, highest(sure)); // first: it keeps the list short
    uint64_t mask = 0;
    for (int64_t v = 0; v < Vectors; v++) {
        mask |= uint64_t{bits(reaches(scores[v], all(list.bar)))} << (v * kLanes);
    }
    const auto* values = reinterpret_cast<const float*>(scores);
    for (; mask != 0; mask &= mask - 1) {
        const int c = __builtin_ctzll(mask);
        offer(list, values[c], first + c);
    }
}

/// One tile: a few points against a panel.
template <int64_t Vectors>
void score_tile(
        const float* points,
        int64_t columns,
        const float* panel,
        int32_t first,
        Candidates* lists) {
    constexpr int64_t kRows = tile_rows(Vectors);
    constexpr int64_t kWidth = Vectors * kLanes;
    Vector acc[kRows][Vectors];
    for (int64_t r = 0; r < kRows; r++) {
        for (int64_t v = 0; v < Vectors; v++) {
            acc[r][v] = load(panel + PackedCentroids::kBias * kWidth + v * kLanes);
        }
    }
    const float* row = panel + PackedCentroids::kSlope * kWidth;
    for (int64_t j = 0; j < columns; j++, row += kWidth) {
        Vector c[Vectors];
        for (int64_t v = 0; v < Vectors; v++) {
            c[v] = load(row + v * kLanes);
        }
        for (int64_t r = 0; r < kRows; r++) {
            const Vector x = all(points[r * columns + j]);
            for (int64_t v = 0; v < Vectors; v++) {
                acc[r][v] = multiply_add(x, c[v], acc[r][v]);
            }
        }
    }
    for (int64_t r = 0; r < kRows; r++) {
        Vector top = acc[r][0];
        for (int64_t v = 1; v < Vectors; v++) {
            top = larger(top, acc[r][v]);
        }
        if (bits(reaches(top, all(lists[r].bar))) != 0) {
            offer_row<Vectors>(acc[r], panel, points[r * columns], first, lists[r]);
        }
    }
}

void score(
        const float* points,
        int64_t rows,
        const PackedCentroids& centroids,
        float* /*workspace*/,
        Candidates* lists) {
    const int64_t columns = centroids.columns;
    const float* panel = centroids.panels;
    for_panels<kPanelVectors>(centroids.k, [&](int64_t first, auto vectors) {
        constexpr int64_t kVectors = decltype(vectors)::kValue;
        const auto id = static_cast<int32_t>(first);
        for (int64_t i = 0; i < rows; i += tile_rows(kVectors)) {
            score_tile<kVectors>(points + i * columns, columns, panel, id, lists + i);
        }
        panel += kVectors * kLanes * (PackedCentroids::kSlope + columns);
    });
}

} // namespace

extern const ScoreKernel FAISS_FLASH_JOIN(score_kernel_, FAISS_FLASH_ISA);
const ScoreKernel FAISS_FLASH_JOIN(score_kernel_, FAISS_FLASH_ISA){
        FAISS_FLASH_TEXT(FAISS_FLASH_ISA), kPanel, kLanes, 0, score};

} // namespace faiss_flash::cpu
