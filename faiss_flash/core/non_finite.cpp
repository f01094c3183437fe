#include <faiss_flash/core/non_finite.h>

#include <algorithm>
#include <cmath>

namespace faiss_flash {

void reject_non_finite(const std::string& name, const NonFinite& where) {
    throw InvalidArgument(
            name + "[" + std::to_string(where.row) + "][" + std::to_string(where.column) +
            "] is not finite: input contains NaN's or Inf's");
}

void require_centroids(
        const Backend& backend, const VectorView& points, const std::vector<int64_t>& ids) {
    const auto bad = std::find(ids.begin(), ids.end(), int64_t{-1});
    if (bad == ids.end()) {
        return;
    }
    const int64_t row = bad - ids.begin();
    std::vector<float> values(static_cast<size_t>(points.d));
    backend.read_rows(Points(points), &row, 1, values.data());
    const auto column = std::find_if_not(
            values.begin(), values.end(), [](float value) { return std::isfinite(value); });
    reject_non_finite("points", {row, column - values.begin()});
}

} // namespace faiss_flash
