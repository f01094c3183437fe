#include <faiss_flash/cpu/centroid_table.h>

#include <faiss_flash/core/parallel.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <utility>

namespace faiss_flash::cpu {

namespace {

/// The ids, ascending, without centroids that equal one with a lower id: that one wins all their
/// points.
std::vector<int32_t> distinct_ids(const GivenCentroids& centroids) {
    std::vector<std::pair<uint64_t, int32_t>> hashes(static_cast<size_t>(centroids.k));
    for_each_range(centroids.k, kCentroidsAtATime, [&](int64_t first, int64_t end) {
        for (int64_t i = first; i < end; i++) {
            hashes[static_cast<size_t>(i)] = {
                    row_ops().hash(centroids.row(i), centroids.d), static_cast<int32_t>(i)};
        }
    });
    std::sort(hashes.begin(), hashes.end());
    std::vector<int32_t> ids;
    ids.reserve(hashes.size());
    size_t group = 0;
    for (size_t i = 0; i < hashes.size(); i++) {
        if (hashes[i].first != hashes[group].first) {
            group = i;
        }
        const float* first = centroids.row(hashes[group].second);
        const float* other = centroids.row(hashes[i].second);
        if (i == group || !std::equal(first, first + centroids.d, other)) {
            ids.push_back(hashes[i].second);
        }
    }
    std::sort(ids.begin(), ids.end());
    return ids;
}

} // namespace

CentroidTable::CentroidTable(
        const float* data,
        int64_t k,
        int64_t d,
        Metric metric,
        const ScoreKernel& kernel,
        const NarrowKernel* narrow,
        const CodeKernel* codes,
        const Frame* frame)
    : centroids_{data, k, d, metric} {
    if (d == 1) {
        line_.emplace(data, k, metric);
        return;
    }
    // What a cell costs a row, in centroids; and so many that finding out is no more than packing.
    const int64_t cost = narrow && d <= NarrowCentroids::kMostColumns ? 64 : 16;
    constexpr int64_t kMostCells = 64;
    const auto groups = split(distinct_ids(centroids_), std::min(k / cost, kMostCells));
    for (const auto& ids : groups) {
        const CodeKernel* coded = groups.size() == 1 ? codes : nullptr;
        cells_.emplace_back(centroids_, ids, kernel, narrow, coded, coded ? frame : nullptr);
    }
    for (size_t g = 0; g < groups.size() && groups.size() > 1; g++) {
        double radius = 0;
        for (const int32_t id : groups[g]) {
            radius = std::max(
                    radius,
                    row_ops().squared_distance(centroids_.row(id), cells_[g].middle().data(), d));
        }
        radii_.push_back(std::sqrt(radius));
    }
}

/// Each centroid goes to the first group whose first member is within 1/32 of the longest distance.
/// All are one group where it takes more than `most`, or where one has nearly all of them.
std::vector<std::vector<int32_t>> CentroidTable::split(
        const std::vector<int32_t>& ids, int64_t most) const {
    constexpr float kNear = 1.0f / 32;
    std::vector<std::vector<int32_t>> groups;
    if (most < 2) {
        return {ids};
    }
    const auto distance = [&](int32_t a, int32_t b) {
        return row_ops().rough_distance(centroids_.row(a), centroids_.row(b), centroids_.d);
    };
    float longest = 0;
    for (const int32_t id : ids) {
        longest = std::max(longest, distance(ids.front(), id));
    }
    for (const int32_t id : ids) {
        const auto near = std::find_if(groups.begin(), groups.end(), [&](const auto& group) {
            return distance(group.front(), id) <= longest * kNear * kNear;
        });
        if (near != groups.end()) {
            near->push_back(id);
            continue;
        }
        groups.push_back({id});
        if (static_cast<int64_t>(groups.size()) > most) {
            return {ids};
        }
    }
    for (const auto& group : groups) {
        if (4 * group.size() > 3 * ids.size()) {
            return {ids};
        }
    }
    return groups;
}

double CentroidTable::best_possible(const float* x, size_t cell) const {
    const float* middle = cells_[cell].middle().data();
    const double radius = radii_[cell];
    // Float64's own errors, radii's included.
    const double slack = static_cast<double>(centroids_.d + 16) * 0x1p-50;
    if (centroids_.metric == Metric::l2) {
        const double distance = std::sqrt(row_ops().squared_distance(x, middle, centroids_.d));
        const double least = std::max(0.0, distance - radius - slack * (distance + radius));
        return least * least;
    }
    const double length = std::sqrt(row_ops().dot(x, x, centroids_.d));
    const double middle_length = std::sqrt(row_ops().dot(middle, middle, centroids_.d));
    return row_ops().dot(x, middle, centroids_.d) + length * radius +
           slack * length * (middle_length + radius);
}

} // namespace faiss_flash::cpu
