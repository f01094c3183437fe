/// All instruction sets must give the same bits.
#include <faiss_flash/core/objective.h>
#include <faiss_flash/cpu/row_ops.h>

#include <support/data.h>

#include <gtest/gtest.h>

#include <cmath>

namespace faiss_flash::cpu {
namespace {

using test::Floats;

struct RowOpsTest : testing::TestWithParam<int64_t> {
    RowOpsTest() : count(row_ops_variants(variants, 8)) {}
    const RowOps* variants[8];
    int count;
    const int64_t d = GetParam();
    const Floats a = test::normal(1, d, 1, 5, 100);
    const Floats b = test::normal(1, d, 2);
};

TEST_P(RowOpsTest, SumsAgreeBitForBit) {
    const RowOps& reference = *variants[count - 1];
    EXPECT_STREQ(reference.isa, "baseline");
    for (int v = 0; v < count; v++) {
        const RowOps& ops = *variants[v];
        EXPECT_EQ(
                ops.squared_distance(a.data(), b.data(), d),
                reference.squared_distance(a.data(), b.data(), d));
        EXPECT_EQ(ops.dot(a.data(), b.data(), d), reference.dot(a.data(), b.data(), d));
        Floats out(a.size());
        Floats expected(a.size());
        EXPECT_EQ(
                ops.center(a.data(), b.data(), 0.25f, d, out.data()),
                reference.center(a.data(), b.data(), 0.25f, d, expected.data()));
        EXPECT_EQ(out, expected);
    }
}

/// What a cluster adds to the objective, of sums in one limb to four.
TEST_P(RowOpsTest, GainsAndSquaresAgreeBitForBit) {
    const RowOps& reference = *variants[count - 1];
    ColumnRange range(d);
    reference.widen_range(a.data(), 1, d, range.largest.data(), range.smallest.data());
    for (const double smaller : {0x1p20, 1.0, 0x1p-40, 0x1p-80}) {
        ColumnRange wide = range;
        for (double& smallest : wide.smallest) {
            smallest *= smaller;
        }
        const FixedPoint format = FixedPoint::plan(wide, 1000);
        std::vector<int64_t> sums(static_cast<size_t>(format.limbs * d));
        for (int i = 0; i < 3; i++) {
            reference.accumulate(a.data(), 1, format, 0, d, sums.data(), d);
        }
        for (int v = 0; v < count; v++) {
            for (const bool l2 : {true, false}) {
                Floats mean(a.size());
                Floats expected_mean(a.size());
                const auto finish = [&](const RowOps& ops, Floats& to) {
                    return ops.finish(
                            l2, b.data(), 3, format, d, sums.data(), d, to.data(), nullptr);
                };
                const DoubleDouble gain = finish(*variants[v], mean);
                const DoubleDouble expected_gain = finish(reference, expected_mean);
                EXPECT_EQ(gain.high, expected_gain.high) << variants[v]->isa;
                EXPECT_EQ(gain.low, expected_gain.low) << variants[v]->isa;
                EXPECT_EQ(mean, expected_mean) << variants[v]->isa;
                EXPECT_NEAR(mean[0], a[0], 1e-7f * std::abs(a[0]));
            }
            std::vector<int64_t> squares(sums.size());
            std::vector<int64_t> expected(sums.size());
            variants[v]->accumulate_squares(a.data(), format, d, squares.data());
            reference.accumulate_squares(a.data(), format, d, expected.data());
            EXPECT_EQ(squares, expected) << variants[v]->isa;
        }
    }
}

TEST_P(RowOpsTest, SumsAreRight) {
    double distance = 0;
    double product = 0;
    for (size_t j = 0; j < a.size(); j++) {
        const double difference = double(a[j]) - b[j];
        distance += difference * difference;
        product += double(a[j]) * b[j];
    }
    EXPECT_NEAR(row_ops().squared_distance(a.data(), b.data(), d), distance, 1e-13 * distance);
    EXPECT_NEAR(row_ops().dot(a.data(), b.data(), d), product, 1e-13 * distance);
}

TEST_P(RowOpsTest, AccumulateAgreesBitForBit) {
    for (const double weight : {1.0, 0.3}) {
        ColumnRange range(d);
        row_ops().widen_range(a.data(), weight, d, range.largest.data(), range.smallest.data());
        for (size_t j = 0; j < a.size(); j++) {
            ASSERT_EQ(range.largest[j], std::abs(weight * double(a[j])));
            ASSERT_EQ(range.smallest[j], range.largest[j]);
        }
        for (const int limbs : {1, 2, 3}) {
            FixedPoint format = FixedPoint::plan(range, 1000);
            format.limbs = limbs;
            std::vector<int64_t> expected;
            for (int v = 0; v < count; v++) {
                std::vector<int64_t> sums(static_cast<size_t>(limbs * d), 5);
                variants[v]->accumulate(a.data(), weight, format, 0, d, sums.data(), d);
                if (v == 0) {
                    expected = sums;
                }
                EXPECT_EQ(sums, expected) << variants[v]->isa;
            }
        }
    }
}

TEST_P(RowOpsTest, FindsWhatIsNotFinite) {
    for (int v = 0; v < count; v++) {
        EXPECT_TRUE(variants[v]->all_finite(a.data(), d));
        for (const float bad : {NAN, INFINITY, -INFINITY}) {
            for (size_t at = 0; at < a.size(); at += a.size() / 3 + 1) {
                Floats x = a;
                x[at] = bad;
                EXPECT_FALSE(variants[v]->all_finite(x.data(), d)) << at;
            }
        }
    }
}

INSTANTIATE_TEST_SUITE_P(Dims, RowOpsTest, testing::Values(1, 7, 8, 9, 31, 128, 1000));

} // namespace
} // namespace faiss_flash::cpu
