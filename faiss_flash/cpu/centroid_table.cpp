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
        const float* centroids, int64_t k, int64_t d, Metric metric, const ScoreKernel& kernel)
    : centroids_(centroids),
      k_(k),
      d_(d),
      metric_(metric),
      kernel_(kernel),
      ops_(row_ops()),
      mean_(static_cast<size_t>(d)) {
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
    packed_ = kernel_.pack(rows.data(), bias.data(), k_, d_);
}

double CentroidTable::center(const float* x, float* out) const {
    return std::sqrt(ops_.center(x, mean_.data(), scale_, d_, out));
}

float CentroidTable::margin(double length) const {
    constexpr double kUnit = 0x1p-24;
    constexpr double kSafe = 1e37; // float32 ends at 3.4e38
    const double product = length * largest_length_;
    const double rounding = static_cast<double>(d_ + 12) * kUnit;
    const double magnitude = product + largest_bias_;
    if (!(magnitude < kSafe) || rounding > 0.5) {
        return HUGE_VALF;
    }
    const double reach = metric_ == Metric::l2
                                 ? (length + largest_length_) * (length + largest_length_) / 2
                                 : (length + mean_length_) * (largest_length_ + mean_length_);
    const double bound =
            static_cast<double>(d_ + 8) * 0x1p-53 * reach +
            rounding / (1 - rounding) * (magnitude + largest_length_ * largest_length_) +
            0x1p-120 * static_cast<double>(d_) * (1 + length) +
            0x1p-52 * static_cast<double>(d_) * mean_length_ * largest_length_;
    return std::nextafter(static_cast<float>(2 * bound), HUGE_VALF);
}

double CentroidTable::exact(const float* x, int64_t id) const {
    const float* centroid = centroids_ + id * d_;
    return metric_ == Metric::l2 ? ops_.squared_distance(x, centroid, d_)
                                 : ops_.dot(x, centroid, d_);
}

} // namespace faiss_flash::cpu
