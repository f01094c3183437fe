/// Brute force in more than float64: what the engine's answers are compared with.
#pragma once

#include <faiss_flash/kmeans.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

namespace faiss_flash::test {

/// Sums in long double: products and differences of float32 values add up almost without error.
inline long double exact_value(Metric metric, const float* x, const float* c, int64_t d) {
    long double sum = 0;
    for (int64_t j = 0; j < d; j++) {
        const long double a = x[j];
        const long double b = c[j];
        sum += metric == Metric::l2 ? (a - b) * (a - b) : a * b;
    }
    return sum;
}

struct Nearest {
    int64_t id = -1;
    long double value = 0;
    /// How far the runner-up is behind, relative to the sums' size; 0 for equal centroids.
    long double relative_margin = std::numeric_limits<double>::infinity();
};

/// The best of k centroids, ties to the lowest id.
inline Nearest nearest(
        Metric metric, const float* x, const float* centroids, int64_t k, int64_t d) {
    Nearest best;
    long double second = std::numeric_limits<double>::infinity();
    long double best_cost = second;
    long double size = 0;
    for (int64_t c = 0; c < k; c++) {
        const long double value = exact_value(metric, x, centroids + c * d, d);
        const long double cost = metric == Metric::l2 ? value : -value;
        size = std::max(size, std::abs(value));
        if (cost < best_cost) {
            second = best_cost;
            best_cost = cost;
            best.id = c;
            best.value = value;
        } else if (cost < second) {
            second = cost;
        }
    }
    if (k > 1 && size > 0) {
        best.relative_margin = (second - best_cost) / size;
    }
    return best;
}

/// Rows whose id is not the oracle's, leaving aside those float64 itself cannot tell apart: margins
/// below the rounding of two sums of d terms. Ties (margin 0) do count unless the centroids' sums
/// are not exact in float64 either.
inline int64_t count_wrong(
        Metric metric,
        const std::vector<float>& x,
        const std::vector<float>& centroids,
        int64_t d,
        const std::vector<int64_t>& ids,
        bool ties_are_exact = true) {
    const auto k = static_cast<int64_t>(centroids.size()) / d;
    const double rounding = 0x1p-52 * static_cast<double>(d);
    int64_t wrong = 0;
    for (size_t i = 0; i < ids.size(); i++) {
        const float* row = x.data() + static_cast<int64_t>(i) * d;
        const Nearest best = nearest(metric, row, centroids.data(), k, d);
        const bool tie = best.relative_margin == 0 && ties_are_exact;
        wrong += ids[i] != best.id && (tie || best.relative_margin >= rounding);
    }
    return wrong;
}

} // namespace faiss_flash::test
