#include <faiss_flash/core/fixed_point.h>
#include <faiss_flash/cpu/row_ops.h>

#include <support/data.h>

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

namespace faiss_flash {
namespace {

using test::Floats;

/// Sums one column of values in fixed point, in the given order.
double fixed_sum(const Floats& values, int* limbs = nullptr) {
    ColumnRange range(1);
    for (const float& value : values) {
        cpu::row_ops().widen_range(&value, 1, 1, range.largest.data(), range.smallest.data());
    }
    const auto format = FixedPoint::plan(range, static_cast<int64_t>(values.size()));
    std::vector<int64_t> sums(static_cast<size_t>(format.limbs), 0);
    for (const float& value : values) {
        cpu::row_ops().accumulate(&value, 1, format, 0, 1, sums.data(), 1);
    }
    if (limbs) {
        *limbs = format.limbs;
    }
    return format.value(0, sums.data(), 1);
}

/// Exact where the range of exponents stays below 113 - log2 n - 24 bits.
double exact_sum(const Floats& values) {
    __float128 sum = 0;
    for (const float value : values) {
        sum += value;
    }
    return static_cast<double>(sum);
}

float ordered_sum(const Floats& values) {
    float sum = 0;
    for (const float value : values) {
        sum += value;
    }
    return sum;
}

TEST(FixedPoint, IntegersTakeOneLimbAndAreExact) {
    const Floats x = test::descriptors(100000, 1, 3);
    int limbs = 0;
    EXPECT_EQ(fixed_sum(x, &limbs), exact_sum(x));
    EXPECT_EQ(limbs, 1);
}

TEST(FixedPoint, NormalDataIsSummedExactly) {
    Floats x = test::normal(100000, 1, 3);
    x[5] = 1e-7f; // a million more would bring such a one
    int limbs = 0;
    const double sum = fixed_sum(x, &limbs);
    EXPECT_LE(std::abs(sum - exact_sum(x)), 1e-15 * std::abs(sum));
    EXPECT_EQ(limbs, 2);
}

TEST(FixedPoint, OrderDoesNotMatter) {
    Floats x = test::normal(10000, 1, 5, 3, 100);
    x[17] = 1e20f;
    x[99] = -3e-20f;
    const double sum = fixed_sum(x);
    std::reverse(x.begin(), x.end());
    EXPECT_EQ(fixed_sum(x), sum);
    std::sort(x.begin(), x.end());
    EXPECT_EQ(fixed_sum(x), sum);
}

/// A cluster of small numbers must not suffer from a giant in another cluster.
TEST(FixedPoint, NeverWorseThanAnOrderedFloatSum) {
    for (const float outlier : {1.0f, 1e6f, 1e12f, 1e20f, 3e38f}) {
        for (const float spread : {1.0f, 1e-6f, 1e-20f, 1e-38f}) {
            const Floats small = test::normal(999, 1, 7, 0, spread);
            Floats all = small;
            all.push_back(outlier);
            ColumnRange range(1);
            for (const float& value : all) {
                cpu::row_ops().widen_range(
                        &value, 1, 1, range.largest.data(), range.smallest.data());
            }
            const auto format = FixedPoint::plan(range, static_cast<int64_t>(all.size()));
            std::vector<int64_t> sums(static_cast<size_t>(format.limbs), 0);
            for (const float& value : small) {
                cpu::row_ops().accumulate(&value, 1, format, 0, 1, sums.data(), 1);
            }
            const double exact = exact_sum(small);
            const auto mine = static_cast<float>(format.value(0, sums.data(), 1));
            const double ordered_error = std::abs(ordered_sum(small) - exact);
            EXPECT_LE(std::abs(mine - static_cast<float>(exact)), ordered_error)
                    << outlier << " " << spread;
        }
    }
}

TEST(FixedPoint, ManyLargeTermsDoNotOverflow) {
    const Floats x(1 << 20, 3.4e38f);
    EXPECT_EQ(fixed_sum(x), std::ldexp(static_cast<double>(3.4e38f), 20));
}

TEST(FixedPoint, Zeros) {
    EXPECT_EQ(fixed_sum(Floats(10, 0.0f)), 0.0);
}

TEST(FixedPoint, Subnormals) {
    const Floats x{1e-45f, 1e-44f, -3e-45f, 1.0f};
    EXPECT_EQ(fixed_sum(x), exact_sum(x));
}

} // namespace
} // namespace faiss_flash
