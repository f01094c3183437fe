/// The objective of an assignment: the same bits on every backend, for any order and partition of
/// the points.
///
/// l2: sum of |x - c|^2 = Q + sum of G over the clusters. Q, the sum of the points' squares, does
/// not change: a column's is added up in integers (fixed_point.h). G = c.(n c - 2 S) of a cluster
/// of n points, whose sum S is in integers as well, is computed in pairs of doubles. What cancels
/// between Q and G is at most 2^104 times as large as what is left with a digit: centres at 1e3
/// with a spread of 1e-3 keep 19. Products: G = c.S alone. With weights S is not the sum of the
/// points: the points' own values are added up in a LongSum.
#pragma once

#include <faiss_flash/core/double_double.h>
#include <faiss_flash/core/fixed_point.h>
#include <faiss_flash/kmeans.h>

#include <cstdint>
#include <vector>

namespace faiss_flash {

/// Partial sums, whose number makes the order of additions the same everywhere: term i belongs to
/// sum i modulo this.
inline constexpr int kColumnLanes = 32;   ///< over the columns of a cluster, or of the points
inline constexpr int kClusterLanes = 256; ///< over the clusters

/// Magnitudes of the squares of what `range` is of, in its first d columns; for FixedPoint::plan(),
/// which reads the last bit off the smallest.
ColumnRange squares_of(const ColumnRange& range, int64_t d);

/// Of sums [limbs x d] of the columns' squares.
DoubleDouble sum_of_columns(const FixedPoint& format, const int64_t* sums, int64_t d);

/// Of the clusters' G [k].
DoubleDouble sum_of_clusters(const DoubleDouble* gains, int64_t k);

/// Any number of doubles below 2^289 in magnitude, such as distances of float32 rows, without any
/// error down to 2^-320: bins of 32 bits each, whose integers add up in any order. At most 2^31
/// terms.
struct LongSum {
    static constexpr int kBins = 20;
    static constexpr int kLowest = -320; ///< bin i counts in 2^(kLowest + 32 i)
    int64_t bins[kBins];
};

namespace {

/// The halves of lanes are added onto each other until one is left: of those before `used`, as
/// adding 0 changes nothing.
FAISS_FLASH_HOST_DEVICE inline DoubleDouble fold(DoubleDouble* lanes, int64_t used) {
    int width = 1;
    while (width < used) {
        width *= 2;
    }
    for (width /= 2; width > 0; width /= 2) {
        for (int lane = 0; lane < width; lane++) {
            lanes[lane] = add(lanes[lane], lanes[lane + width]);
        }
    }
    return lanes[0];
}

/// One column's part of G.
template <class Real>
FAISS_FLASH_HOST_DEVICE inline Pair<Real> gain_of(
        bool l2, Real centroid, Real size, Pair<Real> sum) {
    return multiply(l2 ? add(product_of(size, centroid), scaled(sum, -2)) : sum, centroid);
}

/// Q and G are not off by more than 2^-90 of Q: what is left below is nothing.
FAISS_FLASH_HOST_DEVICE inline double objective_of(
        bool l2, DoubleDouble squares, DoubleDouble gains) {
    const double total = l2 ? add(squares, gains).high : gains.high;
    return l2 && total <= squares.high * 0x1p-90 ? 0 : total;
}

/// Adds to bins of a LongSum; a NaN or an infinity, of a row that is refused afterwards, adds
/// nothing.
FAISS_FLASH_HOST_DEVICE inline void add_to_bins(double value, int64_t* bins) {
    int64_t bits;
    __builtin_memcpy(&bits, &value, sizeof bits);
    const auto exponent = static_cast<int>(bits >> 52 & 0x7ff);
    if (exponent == 0x7ff) {
        return;
    }
    uint64_t mantissa = static_cast<uint64_t>(bits) & ((uint64_t{1} << 52) - 1);
    mantissa |= exponent > 0 ? uint64_t{1} << 52 : 0;
    int position = (exponent > 0 ? exponent : 1) - 1075 - LongSum::kLowest;
    if (position < 0) { // nothing below the lowest bin
        mantissa = position > -53 ? mantissa >> -position : 0;
        position = 0;
    }
    const int shift = position % 32;
    const int64_t sign = bits < 0 ? -1 : 1;
    const uint64_t above = mantissa >> 32;
    const uint64_t pieces[3] = {
            mantissa << shift & 0xffffffff,
            mantissa >> (32 - shift) & 0xffffffff,
            above >> (32 - shift)};
    for (int i = 0; i < 3; i++) {
        bins[position / 32 + i] += sign * static_cast<int64_t>(pieces[i]);
    }
}

FAISS_FLASH_HOST_DEVICE inline DoubleDouble exact_value_of(const LongSum& sum) {
    DoubleDouble total{};
    double unit = 0x1p288; // 2^(kLowest + 32 (kBins - 1))
    for (int i = LongSum::kBins - 1; i >= 0; i--) {
        total = add(total, scaled(of_integer(sum.bins[i]), unit));
        unit *= 0x1p-32;
    }
    return total;
}

FAISS_FLASH_HOST_DEVICE inline double value_of(const LongSum& sum) {
    return exact_value_of(sum).high;
}

} // namespace

} // namespace faiss_flash
