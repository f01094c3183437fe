/// Scores of 8 points x 48 centroids in registers (24 accumulators), never written to memory.
///
/// points    [rows x d] packed, rows a multiple of 8
/// centroids panels of 48 (the last one 16, 32 or 48): [48] bias, then [d x 48] coordinates
/// 1. For each panel (24 KiB at d = 128: it stays in the first-level cache),
/// 2.   for each 8 points: the accumulators start at the bias and take one FMA a coordinate,
/// 3.   the largest of a row's 48 scores is compared with the row's threshold,
/// 4.   and only where it may win are the scores unpacked and offered.
/// Budget a coordinate: 24 FMAs (12 cycles on two ports) against 3 + 8 loads; the epilogue costs
/// 4 instructions a row and panel, 1/d of the product's.
#include <faiss_flash/cpu/scores.h>

#include <immintrin.h>

namespace faiss_flash::cpu {

namespace {

constexpr int64_t kLanes = 16;
constexpr int64_t kPanelVectors = 3;
constexpr int64_t kPanel = kPanelVectors * kLanes;
constexpr int64_t kRows = ScoreKernel::kRowMultiple;

/// Unpacks a row's scores of a panel: rare, a few times a point.
template <int Vectors>
__attribute__((noinline)) void offer_row(const __m512* scores, int32_t first, Candidates& list) {
    __m512 top = scores[0];
    for (int v = 1; v < Vectors; v++) {
        top = _mm512_max_ps(top, scores[v]);
    }
    // Raising the bar first keeps the list short.
    const float best = _mm512_reduce_max_ps(top);
    const float raised = best - list.margin;
    const __m512 bar = _mm512_set1_ps(raised > list.threshold ? raised : list.threshold);
    for (int v = 0; v < Vectors; v++) {
        unsigned mask = _mm512_cmp_ps_mask(scores[v], bar, _CMP_GE_OQ);
        alignas(64) float values[kLanes];
        _mm512_store_ps(values, scores[v]);
        for (; mask != 0; mask &= mask - 1) {
            const int lane = __builtin_ctz(mask);
            offer(list, values[lane], first + v * static_cast<int32_t>(kLanes) + lane);
        }
    }
}

/// One tile: 8 points against a panel of Vectors * 16 centroids.
template <int Vectors>
void score_tile(
        const float* points, int64_t d, const float* panel, int32_t first, Candidates* lists) {
    __m512 acc[kRows][Vectors];
    for (int v = 0; v < Vectors; v++) {
        const __m512 bias = _mm512_load_ps(panel + v * kLanes);
        for (auto& row : acc) {
            row[v] = bias;
        }
    }
    const float* column = panel + Vectors * kLanes;
    for (int64_t j = 0; j < d; j++, column += Vectors * kLanes) {
        __m512 c[Vectors];
        for (int v = 0; v < Vectors; v++) {
            c[v] = _mm512_load_ps(column + v * kLanes);
        }
        for (int64_t r = 0; r < kRows; r++) {
            const __m512 x = _mm512_set1_ps(points[r * d + j]);
            for (int v = 0; v < Vectors; v++) {
                acc[r][v] = _mm512_fmadd_ps(x, c[v], acc[r][v]);
            }
        }
    }
    for (int64_t r = 0; r < kRows; r++) {
        __m512 top = acc[r][0];
        for (int v = 1; v < Vectors; v++) {
            top = _mm512_max_ps(top, acc[r][v]);
        }
        const __m512 threshold = _mm512_set1_ps(lists[r].threshold);
        if (_mm512_cmp_ps_mask(top, threshold, _CMP_GE_OQ) != 0) {
            offer_row<Vectors>(acc[r], first, lists[r]);
        }
    }
}

template <int Vectors>
void score_panel(
        const float* points,
        int64_t rows,
        int64_t d,
        const float* panel,
        int64_t first,
        Candidates* lists) {
    for (int64_t i = 0; i < rows; i += kRows) {
        score_tile<Vectors>(points + i * d, d, panel, static_cast<int32_t>(first), lists + i);
    }
}

int64_t panel_width(int64_t centroids_left) {
    const int64_t vectors = (centroids_left + kLanes - 1) / kLanes;
    return (vectors < kPanelVectors ? vectors : kPanelVectors) * kLanes;
}

class Avx512ScoreKernel final : public ScoreKernel {
   public:
    const char* name() const override { return "avx512"; }

    PackedCentroids pack(
            const float* rows, const float* bias, int64_t k, int64_t d) const override {
        const int64_t padded = (k + kLanes - 1) / kLanes * kLanes;
        PackedCentroids packed{AlignedFloats(padded * (d + 1)), k, d};
        float* out = packed.data.get();
        for (int64_t first = 0; first < k; first += kPanel) {
            const int64_t width = panel_width(k - first);
            for (int64_t c = 0; c < width; c++) {
                const bool real = first + c < k;
                out[c] = real ? bias[first + c] : -__builtin_inff();
                for (int64_t j = 0; j < d; j++) {
                    out[(j + 1) * width + c] = real ? rows[(first + c) * d + j] : 0;
                }
            }
            out += width * (d + 1);
        }
        return packed;
    }

    int64_t workspace(int64_t, const PackedCentroids&) const override { return 0; }

    void score(
            const float* points,
            int64_t rows,
            const PackedCentroids& centroids,
            float*,
            Candidates* lists) const override {
        const int64_t d = centroids.d;
        const float* panel = centroids.data.get();
        for (int64_t first = 0; first < centroids.k; first += kPanel) {
            const int64_t width = panel_width(centroids.k - first);
            switch (width / kLanes) {
                case 1:
                    score_panel<1>(points, rows, d, panel, first, lists);
                    break;
                case 2:
                    score_panel<2>(points, rows, d, panel, first, lists);
                    break;
                default:
                    score_panel<3>(points, rows, d, panel, first, lists);
            }
            panel += width * (d + 1);
        }
    }
};

} // namespace

const ScoreKernel& avx512_score_kernel() {
    static const Avx512ScoreKernel kernel;
    return kernel;
}

} // namespace faiss_flash::cpu
