#include <faiss_flash/cpu/packing.h>

#include <algorithm>
#include <cmath>
#include <numeric>

namespace faiss_flash::cpu {

PackedPanels::PackedPanels(const ScoredCentroids& centroids, const ScoreKernel& kernel)
    : k_(static_cast<int64_t>(centroids.scores.size())), columns_(1 + centroids.d) {
    const int64_t d = centroids.d;
    const int64_t padded = (k_ + kernel.lanes - 1) / kernel.lanes * kernel.lanes;
    data_ = AlignedFloats(padded * (PackedCentroids::kCoordinates + d));
    float* panel = data_.get();
    for (int64_t first = 0; first < k_; first += kernel.panel) {
        const int64_t width = panel_width(kernel, k_ - first);
        const int64_t count = std::min(width, k_ - first);
        for (int64_t c = 0; c < width; c++) {
            ScoredCentroids::Score score{-HUGE_VAL, 0, 0}; // of what fills the panel up
            if (c < count) {
                score = centroids.scores[static_cast<size_t>(first + c)];
            }
            panel[PackedCentroids::kFixed * width + c] = static_cast<float>(score.fixed);
            panel[PackedCentroids::kBias * width + c] =
                    static_cast<float>(score.bias + score.fixed);
            panel[PackedCentroids::kSlope * width + c] = static_cast<float>(score.slope);
        }
        panel += PackedCentroids::kCoordinates * width;
        const float* rows = centroids.rows.get() + first * d;
        for (int64_t j = 0; j < d; j++, panel += width) {
            std::fill(panel + count, panel + width, 0.0f);
            for (int64_t c = 0; c < count; c++) {
                panel[c] = rows[c * d + j];
            }
        }
    }
}

PackedGroups::PackedGroups(const ScoredCentroids& centroids, const std::vector<const float*>& plain)
    : d_(centroids.d) {
    constexpr int64_t kGroup = NarrowCentroids::kGroup;
    const auto k = static_cast<int64_t>(plain.size());
    const int64_t groups = (k + kGroup - 1) / kGroup;
    const auto& scores = centroids.scores;
    places_.resize(static_cast<size_t>(groups * kGroup));
    std::iota(places_.begin(), places_.end(), 0);
    std::sort(places_.begin(), places_.begin() + k, [&](int32_t a, int32_t b) {
        return scores[static_cast<size_t>(a)].slope < scores[static_cast<size_t>(b)].slope;
    });
    errors_.assign(static_cast<size_t>(2 * groups), 0.0f);
    scored_ = AlignedFloats(groups * (1 + d_) * kGroup);
    plain_ = AlignedFloats(groups * d_ * kGroup);
    for (int64_t i = 0; i < groups * kGroup; i++) {
        const int64_t group = i / kGroup;
        const auto place = static_cast<size_t>(places_[static_cast<size_t>(i)]);
        float* scored = scored_.get() + group * (1 + d_) * kGroup + i % kGroup;
        float* as_given = plain_.get() + group * d_ * kGroup + i % kGroup;
        const bool exists = i < k;
        scored[0] = exists ? static_cast<float>(scores[place].bias) : -HUGE_VALF;
        for (int64_t j = 0; j < d_; j++) {
            scored[(1 + j) * kGroup] =
                    exists ? centroids.rows.get()[static_cast<int64_t>(place) * d_ + j] : 0.0f;
            as_given[j * kGroup] = exists ? plain[place][j] : NAN;
        }
        if (exists) {
            float* errors = errors_.data() + 2 * group;
            errors[0] = std::max(errors[0], static_cast<float>(scores[place].fixed));
            errors[1] = std::max(errors[1], static_cast<float>(scores[place].slope));
        }
    }
}

NarrowCentroids PackedGroups::view() const {
    NarrowCentroids view;
    view.d = d_;
    view.group_count = static_cast<int64_t>(errors_.size() / 2);
    view.scored = scored_.get();
    view.plain = plain_.get();
    view.errors = errors_.data();
    view.places = places_.data();
    return view;
}

} // namespace faiss_flash::cpu
