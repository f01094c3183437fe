/// Scores by SGEMM, everywhere. A tile of 256 x 512 scores (512 KiB) stays in the second-level
/// cache: it is written once and read once or, where a row may have a candidate, three times.
#include <faiss_flash/core/linear_algebra.h>
#include <faiss_flash/cpu/scores.h>

#include <algorithm>
#include <cmath>

namespace faiss_flash::cpu {

namespace {

constexpr int64_t kPanel = 512;
constexpr int64_t kLanes = 16; // that the compiler can turn into vectors

/// Adds the bias to a row's products; returns the largest.
float add_bias(const float* bias, int64_t width, float* scores) {
    float lane[kLanes];
    std::fill_n(lane, kLanes, -HUGE_VALF);
    for (int64_t j = 0; j < width; j += kLanes) {
        for (int64_t l = 0; l < kLanes; l++) {
            const float value = scores[j + l] + bias[j + l];
            scores[j + l] = value;
            lane[l] = value > lane[l] ? value : lane[l];
        }
    }
    return *std::max_element(lane, lane + kLanes);
}

void offer_row(
        const float* scores,
        const float* panel,
        int64_t width,
        float length,
        int64_t first,
        Candidates& list) {
    const float* fixed = panel + PackedCentroids::kFixed * width;
    const float* slope = panel + PackedCentroids::kSlope * width;
    for (int64_t j = 0; j < width; j++) { // raising the bar first keeps the list short
        raise(list, scores[j] - 2 * (fixed[j] + length * slope[j]));
    }
    for (int64_t j = 0; j < width; j++) {
        if (scores[j] >= list.bar) {
            offer(list, scores[j], static_cast<int32_t>(first + j));
        }
    }
}

void score(
        const float* points,
        int64_t rows,
        const PackedCentroids& centroids,
        float* tile,
        Candidates* lists) {
    const int64_t columns = centroids.columns;
    const float* panel = centroids.panels;
    for (int64_t first = 0; first < centroids.k; first += kPanel) {
        const int64_t left = (centroids.k - first + kLanes - 1) / kLanes * kLanes;
        const int64_t width = std::min(kPanel, left);
        const float* factors = panel + PackedCentroids::kSlope * width;
        multiply_by(points, rows, factors, width, columns, tile);
        for (int64_t i = 0; i < rows; i++) {
            float* scores = tile + i * width;
            const float top = add_bias(panel + PackedCentroids::kBias * width, width, scores);
            if (top >= lists[i].bar) {
                offer_row(scores, panel, width, points[i * columns], first, lists[i]);
            }
        }
        panel += (PackedCentroids::kSlope + columns) * width;
    }
}

} // namespace

extern const ScoreKernel score_kernel_blas;
const ScoreKernel score_kernel_blas{"blas", kPanel, kLanes, kPanel, score};

} // namespace faiss_flash::cpu
