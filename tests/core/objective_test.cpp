/// Pairs of doubles, sums of doubles without error, and what objectives are made of.
#include <faiss_flash/core/objective.h>

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>

namespace faiss_flash {
namespace {

__float128 wide(DoubleDouble value) {
    return static_cast<__float128>(value.high) + value.low;
}

double error(__float128 found, __float128 expected) {
    const __float128 difference = found - expected;
    return std::abs(static_cast<double>(difference / (expected == 0 ? 1 : expected)));
}

TEST(DoubleDouble, StepsAreAsGoodAsTheySay) {
    std::mt19937_64 generator(1);
    std::normal_distribution<double> normal;
    for (int i = 0; i < 100000; i++) {
        const double a = std::ldexp(normal(generator), static_cast<int>(generator() % 200) - 100);
        const double b = std::ldexp(normal(generator), static_cast<int>(generator() % 200) - 100);
        const double c = static_cast<float>(normal(generator));
        EXPECT_EQ(wide(product_of(a, c)), static_cast<__float128>(a) * c);
        // Rounded to float64 as one addition is: 113 bits may not hold the sum.
        EXPECT_EQ(sum_of(a, b).high, a + b);
        EXPECT_EQ(sum_of(sum_of(a, b).high, -a).high, sum_of(a, b).high - a);
        const DoubleDouble x = sum_of(a, std::ldexp(a, -60) * c);
        const DoubleDouble y = product_of(b, c);
        EXPECT_LE(error(wide(add(x, y)), wide(x) + wide(y)), 0x1p-103);
        EXPECT_EQ(wide(add(x, y)), wide(add(y, x)));
        EXPECT_LE(error(wide(multiply(x, c)), wide(x) * c), 0x1p-103);
        const auto integer = static_cast<int64_t>(generator() >> generator() % 60);
        EXPECT_EQ(wide(of_integer(integer)), static_cast<__float128>(integer));
        EXPECT_EQ(wide(of_integer(-integer)), -static_cast<__float128>(integer));
    }
    const int64_t least = std::numeric_limits<int64_t>::min();
    EXPECT_EQ(wide(of_integer(least)), static_cast<__float128>(least));
}

TEST(LongSum, IsTheSumForAnyOrder) {
    std::mt19937_64 generator(2);
    std::normal_distribution<double> normal;
    std::vector<double> values;
    for (int i = 0; i < 20000; i++) {
        values.push_back(std::ldexp(normal(generator), static_cast<int>(generator() % 90) - 45));
    }
    values.insert(values.end(), {0, -0.0, 0x1p-298, 0x1.fffffffffffffp-260, 1e76, -1e76, 0x1p288});
    values.push_back(-0x1p288);
    const auto sum = [](const std::vector<double>& terms) {
        LongSum total{};
        for (const double term : terms) {
            add_to_bins(term, total.bins);
        }
        return total;
    };
    const LongSum first = sum(values);
    std::shuffle(values.begin(), values.end(), generator);
    const LongSum second = sum(values);
    EXPECT_TRUE(std::equal(first.bins, first.bins + LongSum::kBins, second.bins));
    std::sort(values.begin(), values.end(), [](double a, double b) {
        return std::abs(a) > std::abs(b);
    });
    __float128 expected = 0; // the large ones cancel first
    for (const double value : values) {
        expected += value;
    }
    EXPECT_NEAR(
            value_of(first), static_cast<double>(expected), 0x1p-51 * std::abs(value_of(first)));
    for (const double value : values) {
        EXPECT_EQ(value_of(sum({value})), value);
        EXPECT_EQ(value_of(sum({value, 1, -value})), 1);
    }
}

TEST(LongSum, HasNoBinForWhatIsNotFinite) {
    LongSum sum{};
    for (const double value : std::vector<double>{NAN, -NAN, HUGE_VAL, -HUGE_VAL}) {
        add_to_bins(value, sum.bins);
    }
    EXPECT_EQ(value_of(sum), 0);
}

TEST(Objective, SquaresAreAddedWithoutError) {
    ColumnRange range(3);
    range.largest = {1e3, 0, 1};
    range.smallest[0] = 0x1.8p-20;
    const ColumnRange squares = squares_of(range, 2);
    EXPECT_EQ(squares.largest[0], 1e6);
    EXPECT_EQ(squares.largest[1], 0);
    // The last bit of a float32 of 2^-20 is 2^-43.
    EXPECT_EQ(std::ilogb(squares.smallest[0]) - 23, -86);
}

TEST(Objective, WhatIsBelowItsErrorIsNothing) {
    const DoubleDouble squares{1, 0x1p-60};
    EXPECT_EQ(objective_of(true, squares, {-1, -0x1p-60}), 0);
    EXPECT_EQ(objective_of(true, squares, {-1, -0x1p-60 + 0x1p-95}), 0);
    EXPECT_EQ(objective_of(true, squares, {-1, -0x1p-60 - 0x1p-70}), 0);
    EXPECT_EQ(objective_of(true, squares, {-1, 0}), 0x1p-60);
    EXPECT_EQ(objective_of(false, {}, {-1, 0}), -1);
}

TEST(Objective, FoldsLanesByHalves) {
    std::vector<DoubleDouble> terms(1000);
    for (size_t i = 0; i < terms.size(); i++) {
        terms[i] = {static_cast<double>(i), 0};
    }
    EXPECT_EQ(sum_of_clusters(terms.data(), 1000).high, 499500);
    EXPECT_EQ(sum_of_clusters(terms.data(), 3).high, 3);
}

} // namespace
} // namespace faiss_flash
