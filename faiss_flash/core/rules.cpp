#include <faiss_flash/core/rules.h>

#include <faiss_flash/core/parallel.h>

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

void scale_to_length_1(float* row, int64_t d) {
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

} // namespace

std::vector<Split> choose_splits(int64_t k, int64_t n, double* counts) {
    std::vector<Split> splits;
    if (std::all_of(counts, counts + k, [](double count) { return count != 0; })) {
        return splits; // before the generator, which takes longer to make
    }
    std::mt19937 generator(1234);
    for (int64_t empty = 0; empty < k; empty++) {
        if (counts[empty] != 0) {
            continue;
        }
        const int64_t donor = choose_donor(k, n, counts, generator);
        splits.push_back({empty, donor});
        counts[empty] = counts[donor] / 2;
        counts[donor] -= counts[empty];
    }
    return splits;
}

void apply_splits(const std::vector<Split>& splits, int64_t d, float* centroids) {
    for (const Split& split : splits) {
        float* to = centroids + split.empty * d;
        float* from = centroids + split.donor * d;
        for (int64_t j = 0; j < d; j++) {
            const float sign = j % 2 == 0 ? kSplitShift : -kSplitShift;
            to[j] = limited(from[j] * (1 + sign));
            from[j] = limited(from[j] * (1 - sign));
        }
    }
}

double imbalance_factor(double squares, int64_t n, int64_t k) {
    const auto total = static_cast<double>(n);
    return squares * static_cast<double>(k) / (total * total);
}

void apply_rules(const CentroidRules& rules, int64_t k, int64_t d, float* centroids) {
    if (!rules.spherical && !rules.int_centroids) {
        return;
    }
    constexpr int64_t kValues = 65536; // of a block
    for_each_range(k, std::max<int64_t>(1, kValues / d), [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end && rules.spherical; i++) {
            scale_to_length_1(centroids + i * d, d);
        }
        for (int64_t i = begin * d; i < end * d && rules.int_centroids; i++) {
            centroids[i] = std::round(centroids[i]);
        }
    });
}

int64_t finish_centroids(
        const CentroidRules& rules,
        int64_t n,
        int64_t k,
        int64_t d,
        std::vector<double>& weights,
        float* centroids) {
    const int64_t frozen = rules.frozen;
    const auto splits = choose_splits(k - frozen, n, weights.data() + frozen);
    apply_splits(splits, d, centroids + frozen * d);
    apply_rules(rules, k, d, centroids);
    return static_cast<int64_t>(splits.size());
}

} // namespace faiss_flash
