#include <faiss_flash/core/non_finite.h>

#include <faiss_flash/core/parallel.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <vector>

namespace faiss_flash {

void reject_non_finite(const std::string& name, const NonFinite& where) {
    throw InvalidArgument(
            name + "[" + std::to_string(where.row) + "][" + std::to_string(where.column) +
            "] is not finite: input contains NaN's or Inf's");
}

void require_centroids(const Backend& backend, const VectorView& points, const int64_t* ids) {
    constexpr int64_t kRows = 16384;
    std::atomic<int64_t> first{points.n};
    for_each_range(points.n, kRows, [&](int64_t begin, int64_t end) {
        const int64_t bad = std::find(ids + begin, ids + end, int64_t{-1}) - ids;
        int64_t before = first;
        while (bad < end && bad < before && !first.compare_exchange_weak(before, bad)) {
        }
    });
    const int64_t row = first;
    if (row == points.n) {
        return;
    }
    std::vector<float> values(static_cast<size_t>(points.d));
    backend.read_rows(Points(points), &row, 1, values.data());
    const auto column = std::find_if_not(
            values.begin(), values.end(), [](float value) { return std::isfinite(value); });
    reject_non_finite("points", {row, column - values.begin()});
}

} // namespace faiss_flash
