/// All instruction sets must give the same bits.
#include <faiss_flash/core/fixed_point.h>
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
