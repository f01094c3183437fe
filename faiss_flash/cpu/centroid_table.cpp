#include <faiss_flash/cpu/centroid_table.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <utility>

namespace faiss_flash::cpu {

namespace {

/// Marks every centroid that equals one with a lower id: the lower id wins all its points, and
/// without the copies no point has a long list of equals.
std::vector<bool> find_duplicates(const float* rows, int64_t k, int64_t d) {
    std::vector<std::pair<uint64_t, int64_t>> hashes;
    hashes.reserve(static_cast<size_t>(k));
    for (int64_t i = 0; i < k; i++) {
        uint64_t hash = 0;
        for (int64_t j = 0; j < d; j++) {
            const float value = rows[i * d + j] + 0.0f; // -0 equals 0
            uint32_t bits;
            std::memcpy(&bits, &value, sizeof bits);
            hash = (hash ^ bits) * 0x9e3779b97f4a7c15u;
            hash ^= hash >> 32;
        }
        hashes.emplace_back(hash, i);
    }
    std::sort(hashes.begin(), hashes.end());
    std::vector<bool> duplicate(static_cast<size_t>(k), false);
    size_t group = 0;
    for (size_t i = 1; i < hashes.size(); i++) {
        if (hashes[i].first != hashes[group].first) {
            group = i;
            continue;
        }
        const float* first = rows + hashes[group].second * d;
        const float* other = rows + hashes[i].second * d;
        duplicate[static_cast<size_t>(hashes[i].second)] = std::equal(first, first + d, other);
    }
    return duplicate;
}

} // namespace

CentroidTable::CentroidTable(
        const float* centroids,
        int64_t k,
        int64_t d,
        Metric metric,
        const ScoreKernel& kernel,
        const NarrowKernel* narrow)
    : centroids_(centroids),
      k_(k),
      d_(d),
      metric_(metric),
      kernel_(kernel),
      ops_(row_ops()),
      mean_(static_cast<size_t>(d)),
      narrow_kernel_(d <= NarrowCentroids::kMostColumns ? narrow : nullptr) {
    choose_mean();
    choose_scale();
    pack();
}

void CentroidTable::choose_mean() {
    std::vector<double> sums(static_cast<size_t>(d_), 0.0);
    for (int64_t i = 0; i < k_; i++) {
        for (int64_t j = 0; j < d_; j++) {
            sums[static_cast<size_t>(j)] += centroids_[i * d_ + j];
        }
    }
    for (size_t j = 0; j < sums.size(); j++) {
        mean_[j] = static_cast<float>(sums[j] / static_cast<double>(k_));
    }
}

/// The largest |c - m| becomes 1 to 2; without any spread nothing is scaled.
void CentroidTable::choose_scale() {
    float largest = 0;
    for (int64_t i = 0; i < k_; i++) {
        for (int64_t j = 0; j < d_; j++) {
            const float mean = mean_[static_cast<size_t>(j)];
            largest = std::max(largest, std::abs(centroids_[i * d_ + j] / 2 - mean / 2));
        }
    }
    if (largest > 0) {
        const int exponent = std::max(-120, std::min(120, -1 - std::ilogb(largest)));
        scale_ = std::ldexp(1.0f, exponent);
    }
}

void CentroidTable::pack() {
    const auto duplicate = find_duplicates(centroids_, k_, d_);
    std::vector<float> rows(static_cast<size_t>(k_ * d_));
    std::vector<float> bias(static_cast<size_t>(k_));
    const double scale = scale_;
    mean_length_ = std::sqrt(ops_.dot(mean_.data(), mean_.data(), d_)) * scale;
    for (int64_t i = 0; i < k_; i++) {
        const double squares =
                ops_.center(centroids_ + i * d_, mean_.data(), scale_, d_, rows.data() + i * d_);
        double value = -squares / 2;
        if (metric_ == Metric::inner_product) {
            value = 0;
            for (int64_t j = 0; j < d_; j++) {
                const double mean = mean_[static_cast<size_t>(j)];
                value += mean * scale * ((centroids_[i * d_ + j] - mean) * scale);
            }
        }
        const auto at = static_cast<size_t>(i);
        bias[at] = duplicate[at] ? -HUGE_VALF : static_cast<float>(value);
        largest_length_ = std::max(largest_length_, std::sqrt(squares));
        largest_bias_ = std::max(largest_bias_, std::abs(value));
    }
    find_margins();
    if (narrow_kernel_) {
        pack_narrow(rows.data(), bias.data());
    } else {
        packed_ = kernel_.pack(rows.data(), bias.data(), k_, d_);
    }
}

double CentroidTable::center(const float* x, float* out) const {
    return std::sqrt(ops_.center(x, mean_.data(), scale_, d_, out));
}

void CentroidTable::find_margins() {
    const auto d = static_cast<double>(d_);
    const double rounding = (d + 12) * 0x1p-24;
    const double sums = rounding / (1 - rounding);
    const double c = largest_length_;
    const double m = mean_length_;
    const double float64 = (d + 8) * 0x1p-53;
    // l2: (l + c)^2 / 2; products: (l + m) (c + m).
    const bool l2 = metric_ == Metric::l2;
    const double reach[3] = {l2 ? c * c / 2 : m * (c + m), l2 ? c : c + m, l2 ? 0.5 : 0};
    margins_[0] = 2 * (float64 * reach[0] + sums * (largest_bias_ + c * c) + 0x1p-120 * d +
                       0x1p-52 * d * m * c);
    margins_[1] = 2 * (float64 * reach[1] + sums * c + 0x1p-120 * d);
    margins_[2] = 2 * float64 * reach[2];
}

float CentroidTable::margin(double length) const {
    if (!(length < longest())) {
        return HUGE_VALF;
    }
    const double bound = margins_[0] + length * (margins_[1] + length * margins_[2]);
    return std::nextafter(static_cast<float>(bound), HUGE_VALF);
}

double CentroidTable::longest() const {
    constexpr double kSafe = 1e37; // float32 ends at 3.4e38
    if (!(largest_bias_ < kSafe) || static_cast<double>(d_ + 12) * 0x1p-24 > 0.5) {
        return 0;
    }
    return std::min((kSafe - largest_bias_) / std::max(largest_length_, 1e-30), 1e18);
}

void CentroidTable::pack_narrow(const float* rows, const float* bias) {
    constexpr int64_t kGroup = NarrowCentroids::kGroup;
    const int64_t columns = d_ <= 4 ? 4 : d_ <= 8 ? 8 : 16;
    const int64_t groups = (k_ + kGroup - 1) / kGroup;
    narrow_groups_ = AlignedFloats(groups * kGroup * (columns + 1));
    narrow_plain_.assign(static_cast<size_t>(k_ * columns), 0.0f);
    narrow_mean_.assign(static_cast<size_t>(columns), 0.0f);
    std::copy(mean_.begin(), mean_.end(), narrow_mean_.begin());
    for (int64_t i = 0; i < groups * kGroup; i++) {
        float* group = narrow_groups_.get() + i / kGroup * kGroup * (columns + 1) + i % kGroup;
        group[0] = i < k_ ? bias[i] : -HUGE_VALF;
        for (int64_t j = 0; j < columns; j++) {
            const bool exists = i < k_ && j < d_;
            group[kGroup * (j + 1)] = exists ? rows[i * d_ + j] : 0.0f;
            if (exists) {
                narrow_plain_[static_cast<size_t>(i * columns + j)] = centroids_[i * d_ + j];
            }
        }
    }
    narrow_.d = d_;
    narrow_.columns = columns;
    narrow_.groups = narrow_groups_.get();
    narrow_.group_count = groups;
    narrow_.plain = narrow_plain_.data();
    narrow_.mean = narrow_mean_.data();
    narrow_.scale = scale_;
    for (int i = 0; i < 3; i++) { // the kernel adds them up in float32
        narrow_.margin[i] = static_cast<float>(margins_[i] * (1 + 0x1p-18) + 1e-37);
    }
    narrow_.longest = static_cast<float>(longest() * (1 - 0x1p-20));
    narrow_.l2 = metric_ == Metric::l2;
}

double CentroidTable::exact(const float* x, int64_t id) const {
    const float* centroid = centroids_ + id * d_;
    return metric_ == Metric::l2 ? ops_.squared_distance(x, centroid, d_)
                                 : ops_.dot(x, centroid, d_);
}

} // namespace faiss_flash::cpu
