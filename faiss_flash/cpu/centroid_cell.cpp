#include <faiss_flash/cpu/centroid_cell.h>

#include <faiss_flash/core/parallel.h>

#include <algorithm>
#include <cmath>
#include <utility>

namespace faiss_flash::cpu {

CentroidCell::CentroidCell(
        const GivenCentroids& centroids,
        std::vector<int32_t> ids,
        const ScoreKernel& kernel,
        const NarrowKernel* narrow,
        const CodeKernel* codes,
        const Frame* frame)
    : centroids_(centroids),
      ids_(std::move(ids)),
      kernel_(kernel),
      narrow_kernel_(centroids.d <= NarrowCentroids::kMostColumns ? narrow : nullptr),
      code_kernel_(narrow_kernel_ || centroids.d > CodedCentroids::kMostColumns ? nullptr : codes),
      ops_(row_ops()),
      frame_{std::vector<float>(static_cast<size_t>(centroids.d)), 1},
      stretch_(1 + static_cast<float>(centroids.d + 12) * 0x1p-24f) {
    if (frame) {
        frame_ = *frame;
    } else {
        choose_middle();
        choose_scale();
    }
    const std::vector<float>& middle = frame_.middle;
    middle_length_ = frame_.scale * std::sqrt(ops_.dot(middle.data(), middle.data(), centroids.d));
    origin_ = centroids.metric == Metric::l2 ? middle : std::vector<float>(middle.size());
    const ScoredCentroids scored = score();
    if (narrow_kernel_) {
        std::vector<const float*> plain;
        for (const int32_t id : ids_) {
            plain.push_back(centroids.row(id));
        }
        groups_ = PackedGroups(scored, plain);
    } else if (code_kernel_) {
        coded_ = CodedPanels(scored, *code_kernel_);
    } else {
        panels_ = PackedPanels(scored, kernel);
    }
}

int32_t CentroidCell::place_of(int32_t id) const {
    if (size() == centroids_.k) {
        return id;
    }
    const auto found = std::lower_bound(ids_.begin(), ids_.end(), id);
    return found != ids_.end() && *found == id ? static_cast<int32_t>(found - ids_.begin()) : -1;
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
        std::fill(frame_.middle.begin(), frame_.middle.end(), 0.0f);
        const float share = 1 / static_cast<float>(near.size());
        for (const auto& [distance, x] : near) {
            for (size_t j = 0; j < frame_.middle.size(); j++) {
                frame_.middle[j] += x[j] * share;
            }
        }
        if (near.size() <= kFew) {
            return;
        }
        for (auto& [distance, x] : near) {
            distance = ops_.rough_distance(x, frame_.middle.data(), centroids_.d);
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
        reach = std::max(reach, ops_.half_reach(row(i), frame_.middle.data(), centroids_.d));
    }
    if (reach > 0) {
        const int exponent = std::max(-120, std::min(120, 19 - std::ilogb(reach)));
        frame_.scale = std::ldexp(1.0f, exponent);
    }
}

ScoredCentroids CentroidCell::score() {
    const int64_t d = centroids_.d;
    ScoredCentroids scored{
            d, AlignedFloats(size() * d), std::vector<ScoredCentroids::Score>(ids_.size())};
    std::vector<double> lengths(ids_.size());
    for_each_range(size(), kCentroidsAtATime, [&](int64_t first, int64_t end) {
        for (int64_t i = first; i < end; i++) {
            float* out = scored.rows.get() + i * d;
            ops_.center(row(i), frame_.middle.data(), frame_.scale, d, out);
            const double length = std::sqrt(ops_.dot(out, out, d));
            scored.scores[static_cast<size_t>(i)] = score_of(length);
            lengths[static_cast<size_t>(i)] = length;
        }
    });
    longest_centroid_ = *std::max_element(lengths.begin(), lengths.end());
    find_longest(longest_centroid_);
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
    view.scale = frame_.scale;
    view.common = common_;
    view.longest = longest_;
    view.l2 = centroids_.metric == Metric::l2;
    return view;
}

float CentroidCell::center(const float* x, float* out) const {
    return length_of(ops_.center(x, origin_.data(), frame_.scale, centroids_.d, out));
}

float CentroidCell::encode(const float* x, float* centred, uint8_t* codes, Coded& coded) const {
    const int64_t d = centroids_.d;
    const Extent extent = code_kernel_->center(x, origin_.data(), frame_.scale, d, centred);
    const float length = length_of(extent.squares);
    if (std::isfinite(length)) {
        coded = code_kernel_->encode(centred, extent.largest, d, codes);
    }
    return length;
}

/// A bound, of a sum of float32 squares, some of which may have vanished.
float CentroidCell::length_of(float squares) const {
    const float length = std::sqrt(squares) * stretch_ + stretch_ * 0x1p-50f;
    return has_scores(length) ? length : HUGE_VALF;
}

/// What was measured is float64's, off by (d + 8) 2^-53 of itself or of |x| |c|. Of l2, |x'| comes
/// into the score as well: |x'| >= length (1 - 3 (d + 16) 2^-24) - 2^-49, as center() makes it.
float CentroidCell::sure_score(const float* x, float length, const Nearest& measured) const {
    const auto d = static_cast<double>(centroids_.d);
    const double squared_scale =
            static_cast<double>(frame_.scale) * static_cast<double>(frame_.scale);
    double score;
    if (centroids_.metric == Metric::l2) {
        const double least = std::max(0.0, length * (1 - 3 * (d + 16) * 0x1p-24) - 0x1p-49);
        const double most = measured.value * squared_scale * (1 + (d + 8) * 0x1p-52);
        score = (least * least - most) / 2;
    } else {
        const double of_middle = ops_.dot(x, frame_.middle.data(), centroids_.d);
        const double reach = length * (longest_centroid_ + 2 * middle_length_);
        score = (measured.value - of_middle) * squared_scale - (d + 8) * 0x1p-50 * reach;
    }
    return static_cast<float>(score - std::abs(score) * 0x1p-22 - 0x1p-100);
}

void CentroidCell::measure(const float* x, int32_t place, Nearest& nearest) const {
    const bool l2 = centroids_.metric == Metric::l2;
    const int32_t id = ids_[static_cast<size_t>(place)];
    if (id == nearest.id) {
        return; // the first one that was measured comes a second time among the candidates
    }
    const float* centroid = centroids_.row(id);
    const double value = l2 ? ops_.squared_distance(x, centroid, centroids_.d)
                            : ops_.dot(x, centroid, centroids_.d);
    const bool better = l2 ? value < nearest.value : value > nearest.value;
    const bool tie = value == nearest.value && id < nearest.id;
    if (nearest.measured++ == 0 || better || tie) {
        nearest.id = id;
        nearest.value = value;
    }
}

/// The float32 sum of d squared differences is off by at most g of itself, g = n u / (1 - n u) with
/// n = d + 2 (each difference and each square is rounded too), and by 2^-125 d where terms vanish:
/// of two that are further apart, float64 finds the same one less.
void CentroidCell::measure(
        const float* x, const int32_t* places, int64_t count, Nearest& nearest) const {
    const bool alone = count == 1 && nearest.measured == 0;
    if (centroids_.metric != Metric::l2 || alone) {
        for (int64_t i = 0; i < count; i++) {
            measure(x, places[i], nearest);
        }
        nearest.contested |= nearest.measured > 1;
        return;
    }
    const auto d = static_cast<float>(centroids_.d);
    const auto limit_of = [d](float distance) {
        return distance * (1 + (d + 12) * 0x1p-22f) + d * 0x1p-124f;
    };
    const float before = nearest.measured > 0 ? static_cast<float>(nearest.value) : HUGE_VALF;
    float limit = limit_of(before);
    float distances[Candidates::kCapacity];
    for (int64_t i = 0; i < count; i++) {
        const bool known = ids_[static_cast<size_t>(places[i])] == nearest.id;
        distances[i] = known ? HUGE_VALF : ops_.rough_distance(x, row(places[i]), centroids_.d);
        limit = std::min(limit, limit_of(distances[i]));
    }
    int64_t close = nearest.measured > 0 && before <= limit ? 1 : 0;
    for (int64_t i = 0; i < count; i++) {
        if (distances[i] <= limit) {
            measure(x, places[i], nearest);
            close++;
        }
    }
    nearest.contested |= close > 1;
}

} // namespace faiss_flash::cpu
