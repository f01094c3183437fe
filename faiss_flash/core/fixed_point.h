/// Sums that do not depend on the order of their terms: 64-bit fixed point, one power-of-two scale
/// a dimension.
///
/// A term v becomes the integer round(v * scale), integers add without error in any order, and the
/// sum is rounded to float once. With n terms below 2^p in magnitude, F = min(45, 63 - log2 n) bits
/// are kept: |integer| < 2^F (two pieces of 22 and at most 23 bits, which float32 arithmetic rounds
/// exactly on a GPU) and no sum of n of them reaches 2^63. What the first limb rounds off goes to a
/// second one, F bits further down, and so on: there are as many limbs as it takes for the last to
/// reach the last bit of the smallest non-zero float32 in the data. float32 terms are then added
/// without any error. Integers such as SIFT's take one limb, general data two.
#pragma once

#include <faiss_flash/core/double_double.h>

#include <cstdint>
#include <vector>

namespace faiss_flash {

/// Largest and smallest magnitudes in each column; smallest over the non-zero terms.
struct ColumnRange {
    std::vector<double> largest;  // [d], 0 where all terms are 0
    std::vector<double> smallest; // [d], infinity where all terms are 0

    explicit ColumnRange(int64_t d);
    /// Widens this range to hold the other's terms.
    void merge(const ColumnRange& other);
};

struct FixedPoint {
    /// 278 bits of float32 range and a double's weight product need no more, at 22 bits a limb.
    static constexpr int kMaxLimbs = 32;
    static constexpr int kMostBits = 45; ///< of a limb
    /// Adding this leaves a double's value rounded to an integer in its low mantissa bits.
    static constexpr double kRoundMagic = 0x1.8p52;

    int limbs = 1;
    int limb_bits = 0;         ///< F
    double limb_step = 1;      ///< 2^F: scale of a limb relative to the one before
    std::vector<double> scale; ///< [d] of the first limb

    /// @param terms  the most terms one sum can have
    static FixedPoint plan(const ColumnRange& range, int64_t terms);

    /// The value of a sum. Limb l of it is sums[l * stride].
    double value(int64_t column, const int64_t* sums, int64_t stride) const;
    /// The same, of 106 bits.
    DoubleDouble exact_value(int64_t column, const int64_t* sums, int64_t stride) const;
};

} // namespace faiss_flash
