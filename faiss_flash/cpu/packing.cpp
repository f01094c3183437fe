#include <faiss_flash/cpu/packing.h>

#include <faiss_flash/core/parallel.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>

namespace faiss_flash::cpu {

namespace {

/// Centroids of the next panel, where so many are left.
template <class Kernel>
int64_t panel_width(const Kernel& kernel, int64_t left) {
    const int64_t whole = (left + kernel.lanes - 1) / kernel.lanes * kernel.lanes;
    return std::min(whole, kernel.panel);
}

template <class Kernel>
int64_t padded_to_lanes(const Kernel& kernel, int64_t k) {
    return (k + kernel.lanes - 1) / kernel.lanes * kernel.lanes;
}

/// Calls body(first, width) for the panels of k centroids.
template <class Kernel, class Body>
void for_each_panel(const Kernel& kernel, int64_t k, const Body& body) {
    const int64_t each = std::max(kCentroidsAtATime, kernel.panel);
    for_each_range(k, each, [&](int64_t begin, int64_t end) {
        for (int64_t first = begin; first < end; first += kernel.panel) {
            body(first, panel_width(kernel, k - first));
        }
    });
}

} // namespace

PackedPanels::PackedPanels(const ScoredCentroids& centroids, const ScoreKernel& kernel)
    : k_(static_cast<int64_t>(centroids.scores.size())), columns_(1 + centroids.d) {
    const int64_t d = centroids.d;
    constexpr int64_t kCoordinates = PackedCentroids::kCoordinates;
    data_ = AlignedFloats(padded_to_lanes(kernel, k_) * (kCoordinates + d));
    for_each_panel(kernel, k_, [&](int64_t first, int64_t width) {
        const int64_t count = std::min(width, k_ - first);
        float* panel = data_.get() + first * (kCoordinates + d);
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
        panel += kCoordinates * width;
        const float* rows = centroids.rows.get() + first * d;
        for (int64_t j = 0; j < d; j++, panel += width) {
            std::fill(panel + count, panel + width, 0.0f);
            for (int64_t c = 0; c < count; c++) {
                panel[c] = rows[c * d + j];
            }
        }
    });
}

CodedPanels::CodedPanels(const ScoredCentroids& centroids, const CodeKernel& kernel)
    : k_(static_cast<int64_t>(centroids.scores.size())), columns_(kernel.columns_of(centroids.d)) {
    const int64_t items = CodedCentroids::kCodes + columns_ / 4;
    data_ = AlignedFloats(padded_to_lanes(kernel, k_) * items);
    for_each_panel(kernel, k_, [&](int64_t first, int64_t width) {
        float* panel = data_.get() + first * items;
        std::fill_n(panel, width * items, 0.0f);
        std::fill_n(panel + CodedCentroids::kBias * width, width, -HUGE_VALF);
        for (int64_t c = 0; c < std::min(width, k_ - first); c++) {
            pack(centroids, first + c, kernel, panel + c, width);
        }
    });
}

/// One centroid, as a column of a panel. Float32's own errors are those of scores.h twice over:
/// they also cover the roundings of residuals and of the bounds themselves.
void CodedPanels::pack(
        const ScoredCentroids& centroids,
        int64_t place,
        const CodeKernel& kernel,
        float* column,
        int64_t width) {
    const auto& score = centroids.scores[static_cast<size_t>(place)];
    const int64_t d = centroids.d;
    const float* row = centroids.rows.get() + place * d;
    const std::vector<float> origin(static_cast<size_t>(d));
    const AlignedFloats aligned(d + CodeKernel::kMostLanes);
    std::vector<uint8_t> codes(static_cast<size_t>(columns_ + CodeKernel::kMostLanes));
    const Extent extent = kernel.center(row, origin.data(), 1, d, aligned.get());
    const Coded coded = kernel.encode(aligned.get(), extent.largest, d, codes.data());
    std::fill(codes.begin() + d, codes.end(), static_cast<uint8_t>(kernel.zero));
    int32_t sum = 0;
    int64_t squares = 0;
    for (int64_t j = 0; j < columns_; j += 4) {
        int8_t four[4];
        for (int64_t i = 0; i < 4; i++) {
            four[i] = static_cast<int8_t>(codes[static_cast<size_t>(j + i)] - kernel.zero);
            sum += four[i];
            squares += four[i] * four[i];
        }
        std::memcpy(column + (CodedCentroids::kCodes + j / 4) * width, four, sizeof four);
    }
    const double length = coded.scale * std::sqrt(static_cast<double>(squares));
    column[CodedCentroids::kScale * width] = coded.scale;
    column[CodedCentroids::kBias * width] = static_cast<float>(score.bias);
    column[CodedCentroids::kFixed * width] = static_cast<float>(2 * score.fixed);
    column[CodedCentroids::kLength * width] = static_cast<float>(length * (1 + 0x1p-20));
    column[CodedCentroids::kResidual * width] =
            static_cast<float>(coded.residual + 2 * score.slope);
    const int32_t offset = -kernel.zero * sum;
    std::memcpy(column + CodedCentroids::kOffset * width, &offset, sizeof offset);
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
