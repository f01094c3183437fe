#include <faiss_flash/core/rules.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>

namespace faiss_flash {

namespace {

int64_t choose_donor(int64_t k, int64_t n, const double* counts, std::mt19937& generator) {
    const auto largest_draw = static_cast<float>(std::mt19937::max());
    int64_t donor = 0;
    for (int64_t tries = 0; tries < 10 * k; tries++) {
        const auto p = static_cast<float>((counts[donor] - 1.0) / static_cast<float>(n - k));
        const float r = static_cast<float>(generator()) / largest_draw;
        if (r < p) {
            return donor;
        }
        donor = (donor + 1) % k;
    }
    return std::max_element(counts, counts + k) - counts;
}

/// A coordinate next to the end of float32 does not become an infinity.
float limited(float value) {
    constexpr float kMost = std::numeric_limits<float>::max();
    return std::max(-kMost, std::min(kMost, value));
}

} // namespace

int64_t split_empty_clusters(int64_t k, int64_t d, int64_t n, double* counts, float* centroids) {
    constexpr float kShift = 1.0f / 1024.0f;
    if (std::all_of(counts, counts + k, [](double count) { return count != 0; })) {
        return 0; // before the generator, which takes longer to make
    }
    std::mt19937 generator(1234);
    int64_t nsplit = 0;
    for (int64_t empty = 0; empty < k; empty++) {
        if (counts[empty] != 0) {
            continue;
        }
        const int64_t donor = choose_donor(k, n, counts, generator);
        float* to = centroids + empty * d;
        float* from = centroids + donor * d;
        for (int64_t j = 0; j < d; j++) {
            const float sign = j % 2 == 0 ? kShift : -kShift;
            to[j] = limited(from[j] * (1 + sign));
            from[j] = limited(from[j] * (1 - sign));
        }
        counts[empty] = counts[donor] / 2;
        counts[donor] -= counts[empty];
        nsplit++;
    }
    return nsplit;
}

double imbalance_factor(double squares, int64_t n, int64_t k) {
    const auto total = static_cast<double>(n);
    return squares * static_cast<double>(k) / (total * total);
}

void apply_rules(const CentroidRules& rules, int64_t k, int64_t d, float* centroids) {
    for (int64_t i = 0; i < k && rules.spherical; i++) {
        float* row = centroids + i * d;
        double squares = 0;
        for (int64_t j = 0; j < d; j++) {
            squares += static_cast<double>(row[j]) * row[j];
        }
        if (squares > 0) {
            const double inverse = 1 / std::sqrt(squares);
            for (int64_t j = 0; j < d; j++) {
                row[j] = static_cast<float>(row[j] * inverse);
            }
        }
    }
    for (int64_t i = 0; i < k * d && rules.int_centroids; i++) {
        centroids[i] = std::round(centroids[i]);
    }
}

int64_t finish_centroids(
        const CentroidRules& rules,
        int64_t n,
        int64_t k,
        int64_t d,
        std::vector<double>& weights,
        float* centroids) {
    const int64_t frozen = rules.frozen;
    const int64_t nsplit =
            split_empty_clusters(k - frozen, d, n, weights.data() + frozen, centroids + frozen * d);
    apply_rules(rules, k, d, centroids);
    return nsplit;
}

} // namespace faiss_flash
