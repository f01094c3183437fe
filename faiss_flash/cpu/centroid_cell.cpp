#include <faiss_flash/cpu/centroid_cell.h>

#include <algorithm>
#include <cmath>
#include <utility>

namespace faiss_flash::cpu {

CentroidCell::CentroidCell(
        const Centroids& centroids,
        std::vector<int32_t> ids,
        const ScoreKernel& kernel,
        const NarrowKernel* narrow)
    : centroids_(centroids),
      ids_(std::move(ids)),
      kernel_(kernel),
      narrow_kernel_(centroids.d <= NarrowCentroids::kMostColumns ? narrow : nullptr),
      ops_(row_ops()),
      middle_(static_cast<size_t>(centroids.d)),
      stretch_(1 + static_cast<float>(centroids.d + 12) * 0x1p-24f) {
    choose_middle();
    origin_ = centroids.metric == Metric::l2 ? middle_ : std::vector<float>(middle_.size());
    choose_scale();
    const ScoredCentroids scored = score();
    if (narrow_kernel_) {
        std::vector<const float*> plain;
        for (const int32_t id : ids_) {
            plain.push_back(centroids.row(id));
        }
        groups_ = PackedGroups(scored, plain);
    } else {
        panels_ = PackedPanels(scored, kernel);
    }
}

/// The mean of a few centroids that lie close together: of up to 64, the half that is nearer to
/// their mean, and so on. Those that lie far out would draw the mean of all away from the others.
void CentroidCell::choose_middle() {
    constexpr int64_t kMost = 64;
    constexpr size_t kFew = 8;
    const int64_t count = std::min(size(), kMost);
    std::vector<std::pair<float, const float*>> near;
    for (int64_t i = 0; i < count; i++) {
        near.emplace_back(0.0f, row(i * size() / count));
    }
    while (true) {
        std::fill(middle_.begin(), middle_.end(), 0.0f);
        const float share = 1 / static_cast<float>(near.size());
        for (const auto& [distance, x] : near) {
            for (size_t j = 0; j < middle_.size(); j++) {
                middle_[j] += x[j] * share;
            }
        }
        if (near.size() <= kFew) {
            return;
        }
        for (auto& [distance, x] : near) {
            distance = ops_.rough_distance(x, middle_.data(), centroids_.d);
        }
        const auto half = static_cast<int64_t>(near.size() / 2);
        std::nth_element(near.begin(), near.begin() + half, near.end());
        near.resize(static_cast<size_t>(half));
    }
}

/// The largest |c - m| becomes 2^20 to 2^21; without any spread nothing is scaled.
void CentroidCell::choose_scale() {
    float reach = 0;
    for (int64_t i = 0; i < size(); i++) {
        reach = std::max(reach, ops_.half_reach(row(i), middle_.data(), centroids_.d));
    }
    if (reach > 0) {
        const int exponent = std::max(-120, std::min(120, 19 - std::ilogb(reach)));
        scale_ = std::ldexp(1.0f, exponent);
    }
    middle_length_ = scale_ * std::sqrt(ops_.dot(middle_.data(), middle_.data(), centroids_.d));
}

ScoredCentroids CentroidCell::score() {
    const int64_t d = centroids_.d;
    ScoredCentroids scored{d, AlignedFloats(size() * d), {}};
    double longest = 0;
    for (int64_t i = 0; i < size(); i++) {
        float* out = scored.rows.get() + i * d;
        ops_.center(row(i), middle_.data(), scale_, d, out);
        const double length = std::sqrt(ops_.dot(out, out, d));
        scored.scores.push_back(score_of(length));
        longest = std::max(longest, length);
    }
    find_longest(longest);
    return scored;
}

ScoredCentroids::Score CentroidCell::score_of(double length) const {
    const bool l2 = centroids_.metric == Metric::l2;
    const auto d = static_cast<double>(centroids_.d);
    const double rounding = (d + 12) * 0x1p-24;
    const double sums = rounding / (1 - 2 * rounding);
    const double float64 = (d + 8) * 0x1p-53;
    const double bias = l2 ? -length * length / 2 : 0;
    // Float64 measures l2 (l + c)^2 / 2, of which l^2 / 2 is common to all, and products l (c + m).
    const double reach = l2 ? length : length + middle_length_;
    return {bias,
            (sums + float64) * std::abs(bias) + 0x1p-120 * d,
            sums * length + float64 * reach + 0x1p-120 * d};
}

/// Scores and their errors stay below kSafe.
void CentroidCell::find_longest(double length) {
    constexpr double kSafe = 1e37; // float32 ends at 3.4e38
    const auto d = static_cast<double>(centroids_.d);
    const double bias = length * length / 2;
    common_ = centroids_.metric == Metric::l2 ? static_cast<float>((d + 8) * 0x1p-54) : 0;
    if (bias < kSafe && (d + 12) * 0x1p-24 <= 0.25) {
        const double factor = std::max({length, score_of(length).slope, 1e-30});
        longest_ = static_cast<float>(std::min((kSafe - bias) / factor, 1e18));
    }
}

NarrowCentroids CentroidCell::narrow_centroids() const {
    NarrowCentroids view = groups_.view();
    view.ids = ids_.data();
    view.centroids = centroids_.data;
    view.origin = origin_.data();
    view.scale = scale_;
    view.common = common_;
    view.longest = longest_;
    view.l2 = centroids_.metric == Metric::l2;
    return view;
}

float CentroidCell::center(const float* x, float* out) const {
    const float squares = ops_.center(x, origin_.data(), scale_, centroids_.d, out);
    // A bound: a sum of float32 squares, some of which may have vanished.
    const float length = std::sqrt(squares) * stretch_ + stretch_ * 0x1p-50f;
    return length < longest_ ? length : HUGE_VALF;
}

void CentroidCell::measure(const float* x, int32_t place, Nearest& nearest) const {
    const bool l2 = centroids_.metric == Metric::l2;
    const int32_t id = ids_[static_cast<size_t>(place)];
    const float* centroid = centroids_.row(id);
    const double value = l2 ? ops_.squared_distance(x, centroid, centroids_.d)
                            : ops_.dot(x, centroid, centroids_.d);
    const bool better = l2 ? value < nearest.value : value > nearest.value;
    if (nearest.measured++ == 0 || better) { // ids come in ascending order
        nearest.id = id;
        nearest.value = value;
    }
}

/// The float32 sum of d squared differences is off by at most g of itself, g = n u / (1 - n u) with
/// n = d + 2 (each difference and each square is rounded too), and by 2^-125 d where terms vanish:
/// of two that are further apart, float64 finds the same one less.
void CentroidCell::measure(
        const float* x, const int32_t* places, int64_t count, Nearest& nearest) const {
    constexpr int64_t kFew = 3; // cost no more in float64 alone
    if (centroids_.metric != Metric::l2 || (count <= kFew && nearest.measured == 0)) {
        for (int64_t i = 0; i < count; i++) {
            measure(x, places[i], nearest);
        }
        return;
    }
    const auto d = static_cast<float>(centroids_.d);
    float distances[Candidates::kCapacity];
    for (int64_t i = 0; i < count; i++) {
        distances[i] = ops_.rough_distance(x, row(places[i]), centroids_.d);
        const float limit = distances[i] * (1 + (d + 12) * 0x1p-22f) + d * 0x1p-124f;
        nearest.limit = std::min(nearest.limit, limit);
    }
    for (int64_t i = 0; i < count; i++) {
        if (distances[i] <= nearest.limit) {
            measure(x, places[i], nearest);
        }
    }
}

} // namespace faiss_flash::cpu
