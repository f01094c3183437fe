/// Scores by SGEMM. A tile of 256 x 512 scores (512 KiB) stays in the second-level cache: it is
/// written once and read once or, where it holds a row's new best, twice.
#include <faiss_flash/core/linear_algebra.h>
#include <faiss_flash/cpu/scores.h>

#include <algorithm>
#include <cmath>

namespace faiss_flash::cpu {

namespace {

constexpr int64_t kTileCentroids = 512;
constexpr int64_t kLanes = 16;

/// The largest of score[j] + bias[j].
float best_of(const float* score, const float* bias, int64_t count) {
    float lane[kLanes];
    std::fill_n(lane, kLanes, -HUGE_VALF);
    int64_t j = 0;
    for (; j + kLanes <= count; j += kLanes) {
        for (int64_t l = 0; l < kLanes; l++) {
            const float value = score[j + l] + bias[j + l];
            lane[l] = value > lane[l] ? value : lane[l];
        }
    }
    for (; j < count; j++) {
        lane[0] = std::max(lane[0], score[j] + bias[j]);
    }
    return *std::max_element(lane, lane + kLanes);
}

class BlasScoreKernel final : public ScoreKernel {
   public:
    const char* name() const override { return "blas"; }

    PackedCentroids pack(
            const float* rows, const float* bias, int64_t k, int64_t d) const override {
        PackedCentroids packed{AlignedFloats(k * d + k), k, d};
        std::copy_n(rows, k * d, packed.data.get());
        std::copy_n(bias, k, packed.data.get() + k * d);
        return packed;
    }

    int64_t workspace(int64_t rows, const PackedCentroids& centroids) const override {
        return rows * std::min(kTileCentroids, centroids.k);
    }

    void score(
            const float* points,
            int64_t rows,
            const PackedCentroids& centroids,
            float* tile,
            Candidates* lists) const override {
        const int64_t d = centroids.d;
        const float* all_bias = centroids.data.get() + centroids.k * d;
        for (int64_t first = 0; first < centroids.k; first += kTileCentroids) {
            const int64_t width = std::min(kTileCentroids, centroids.k - first);
            multiply(points, rows, centroids.data.get() + first * d, width, d, tile);
            const float* bias = all_bias + first;
            for (int64_t i = 0; i < rows; i++) {
                const float* scores = tile + i * width;
                const float best = best_of(scores, bias, width);
                if (!(best >= lists[i].threshold)) {
                    continue;
                }
                // Raising the bar first keeps the list short.
                const float bar = std::max(lists[i].threshold, best - lists[i].margin);
                for (int64_t j = 0; j < width; j++) {
                    const float value = scores[j] + bias[j];
                    if (value >= bar) {
                        offer(lists[i], value, static_cast<int32_t>(first + j));
                    }
                }
            }
        }
    }
};

} // namespace

const ScoreKernel& blas_score_kernel() {
    static const BlasScoreKernel kernel;
    return kernel;
}

} // namespace faiss_flash::cpu
