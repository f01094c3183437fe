#include <faiss_flash/core/objective.h>

#include <algorithm>
#include <cmath>

namespace faiss_flash {

namespace {

template <class Term>
DoubleDouble sum_in_lanes(int lanes, int64_t count, const Term& term) {
    std::vector<DoubleDouble> sums(static_cast<size_t>(lanes));
    for (int64_t i = 0; i < count; i++) {
        DoubleDouble& sum = sums[static_cast<size_t>(i % lanes)];
        sum = add(sum, term(i));
    }
    return fold(sums.data(), std::min<int64_t>(lanes, count));
}

} // namespace

ColumnRange squares_of(const ColumnRange& range, int64_t d) {
    ColumnRange squares(d);
    for (size_t j = 0; j < squares.largest.size(); j++) {
        if (range.largest[j] > 0) {
            squares.largest[j] = range.largest[j] * range.largest[j];
            squares.smallest[j] = std::ldexp(1.0, 2 * std::ilogb(range.smallest[j]) - 23);
        }
    }
    return squares;
}

DoubleDouble sum_of_columns(const FixedPoint& format, const int64_t* sums, int64_t d) {
    return sum_in_lanes(
            kColumnLanes, d, [&](int64_t j) { return format.exact_value(j, sums + j, d); });
}

DoubleDouble sum_of_clusters(const DoubleDouble* gains, int64_t k) {
    return sum_in_lanes(kClusterLanes, k, [&](int64_t i) { return gains[i]; });
}

} // namespace faiss_flash
