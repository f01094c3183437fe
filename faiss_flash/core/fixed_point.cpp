#include <faiss_flash/core/fixed_point.h>

#include <algorithm>
#include <cmath>
#include <limits>

namespace faiss_flash {

ColumnRange::ColumnRange(int64_t d)
    : largest(static_cast<size_t>(d), 0.0),
      smallest(static_cast<size_t>(d), std::numeric_limits<double>::infinity()) {}

void ColumnRange::merge(const ColumnRange& other) {
    for (size_t j = 0; j < largest.size(); j++) {
        largest[j] = std::max(largest[j], other.largest[j]);
        smallest[j] = std::min(smallest[j], other.smallest[j]);
    }
}

FixedPoint FixedPoint::plan(const ColumnRange& range, int64_t terms) {
    int term_bits = 0; // terms <= 2^term_bits
    while (term_bits < 62 && (int64_t{1} << term_bits) < terms) {
        term_bits++;
    }
    const int bits = std::max(1, std::min(kMostBits, 63 - term_bits));
    FixedPoint plan;
    plan.limb_bits = bits;
    plan.limb_step = std::ldexp(1.0, bits);
    for (size_t j = 0; j < range.largest.size(); j++) {
        if (range.largest[j] == 0) {
            plan.scale.push_back(1);
            continue;
        }
        int top = std::ilogb(range.largest[j]) + 1; // every |term| < 2^top
        if (std::ldexp(range.largest[j], bits - top) > plan.limb_step - 0.5) {
            top++; // as an integer too
        }
        const int bottom = std::ilogb(range.smallest[j]) - 23; // last bit of the smallest float
        plan.scale.push_back(std::ldexp(1.0, bits - top));
        const int limbs = (top - bottom + bits - 1) / bits;
        plan.limbs = std::max(plan.limbs, std::min(limbs, kMaxLimbs));
    }
    return plan;
}

double FixedPoint::value(int64_t column, const int64_t* sums, int64_t stride) const {
    double total = 0;
    for (int limb = limbs - 1; limb >= 0; limb--) {
        total = total / limb_step + static_cast<double>(sums[limb * stride]);
    }
    return total / scale[static_cast<size_t>(column)];
}

DoubleDouble FixedPoint::exact_value(int64_t column, const int64_t* sums, int64_t stride) const {
    DoubleDouble total = of_integer(sums[(limbs - 1) * stride]);
    for (int limb = limbs - 2; limb >= 0; limb--) {
        total = add(scaled(total, 1 / limb_step), of_integer(sums[limb * stride]));
    }
    return scaled(total, 1 / scale[static_cast<size_t>(column)]);
}

} // namespace faiss_flash
