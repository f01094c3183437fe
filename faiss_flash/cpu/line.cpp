#include <faiss_flash/cpu/line.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

namespace faiss_flash::cpu {

namespace {

constexpr size_t kBeyond = 2; // infinities on each side
constexpr size_t kAtOnce = 8; // points

} // namespace

LineCentroids::LineCentroids(const float* centroids, int64_t k, Metric metric) : metric_(metric) {
    std::vector<std::pair<float, int32_t>> sorted;
    sorted.reserve(static_cast<size_t>(k));
    for (int64_t i = 0; i < k; i++) {
        sorted.emplace_back(centroids[i], static_cast<int32_t>(i));
    }
    std::sort(sorted.begin(), sorted.end());
    values_.assign(kBeyond, -HUGE_VALF);
    ids_.assign(kBeyond, -1);
    for (const auto& [value, id] : sorted) {
        if (value != values_.back()) {
            values_.push_back(value);
            ids_.push_back(id);
        }
    }
    values_.insert(values_.end(), kBeyond, HUGE_VALF);
    ids_.insert(ids_.end(), kBeyond, -1);
}

double LineCentroids::distance(float x, size_t i) const {
    const double difference = static_cast<double>(x) - values_[i];
    return difference * difference;
}

/// For each of a few points the first value that is not below it. Side by side and without branches
/// there is nothing to wait for and nothing to predict.
void LineCentroids::bisect(const float* x, size_t* positions) const {
    std::fill_n(positions, kAtOnce, kBeyond);
    for (size_t left = values_.size() - 2 * kBeyond + 1; left > 1; left -= left / 2) {
        for (size_t i = 0; i < kAtOnce; i++) {
            const bool above = x[i] > values_[positions[i] + left / 2 - 1];
            positions[i] += above ? left / 2 : 0;
        }
    }
}

/// One of the two neighbours. Rounding keeps the order of distances, but may make some equal that
/// are not: then the lowest id of all that are as near.
LineCentroids::Best LineCentroids::nearest(float x, size_t right) const {
    const double below = distance(x, right - 1);
    const double above = distance(x, right);
    const size_t at = right - static_cast<size_t>(below < above);
    Best best{ids_[at], std::min(below, above)};
    const double next = std::min(distance(x, right - 2), distance(x, right + 1));
    if (std::min(std::max(below, above), next) == best.value) {
        for (size_t i = right - 1; distance(x, i) == best.value; i--) {
            best.id = std::min(best.id, ids_[i]);
        }
        for (size_t i = right; distance(x, i) == best.value; i++) {
            best.id = std::min(best.id, ids_[i]);
        }
    }
    return best;
}

/// Products of float32 values are exact in float64. A sum that starts from 0 is never -0.
LineCentroids::Best LineCentroids::highest_product(float x) const {
    if (x == 0) {
        return {0, 0.0};
    }
    const size_t i = x > 0 ? values_.size() - kBeyond - 1 : kBeyond;
    return {ids_[i], 0.0 + static_cast<double>(x) * values_[i]};
}

void LineCentroids::assign(
        const float* points, int64_t stride, int64_t count, int32_t* ids, double* values) const {
    for (int64_t first = 0; first < count; first += kAtOnce) {
        const auto some = static_cast<size_t>(std::min<int64_t>(kAtOnce, count - first));
        float x[kAtOnce] = {};
        size_t positions[kAtOnce];
        for (size_t i = 0; i < some; i++) {
            x[i] = points[(first + static_cast<int64_t>(i)) * stride];
        }
        bisect(x, positions);
        for (size_t i = 0; i < some; i++) {
            Best best{-1, std::numeric_limits<double>::quiet_NaN()};
            if (std::isfinite(x[i])) {
                best = metric_ == Metric::l2 ? nearest(x[i], positions[i]) : highest_product(x[i]);
            }
            ids[first + static_cast<int64_t>(i)] = best.id;
            values[first + static_cast<int64_t>(i)] = best.value;
        }
    }
}

} // namespace faiss_flash::cpu
