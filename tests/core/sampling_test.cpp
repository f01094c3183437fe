#include <faiss_flash/core/sampling.h>

#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>
#include <random>
#include <set>

namespace faiss_flash {
namespace {

/// The shuffle as the contract states it, over a whole array.
std::vector<int64_t> whole_permutation(int64_t n, unsigned seed) {
    std::vector<int64_t> p(static_cast<size_t>(n));
    std::iota(p.begin(), p.end(), 0);
    std::mt19937 generator(seed);
    for (int64_t i = 0; i + 1 < n; i++) {
        std::swap(p[static_cast<size_t>(i)], p[static_cast<size_t>(i + generator() % (n - i))]);
    }
    return p;
}

TEST(Sampling, HeadEqualsTheWholePermutation) {
    for (const int64_t n : {1, 2, 7, 1000}) {
        const auto whole = whole_permutation(n, 1235);
        for (const int64_t m : {int64_t{1}, n / 2, n}) {
            const auto head = permutation_head(n, m, 1235);
            ASSERT_TRUE(std::equal(head.begin(), head.end(), whole.begin())) << n << " " << m;
        }
    }
}

TEST(Sampling, OnlyTheLow32BitsOfTheSeedCount) {
    EXPECT_EQ(permutation_head(100, 10, 7), permutation_head(100, 10, 7 + (int64_t{1} << 32)));
    EXPECT_NE(permutation_head(100, 10, 7), permutation_head(100, 10, 8));
}

TEST(Sampling, HugeRangeNeedsNoHugeMemory) {
    const auto head = permutation_head(int64_t{1} << 40, 1000, 5);
    EXPECT_EQ(std::set<int64_t>(head.begin(), head.end()).size(), 1000u);
    EXPECT_GT(*std::max_element(head.begin(), head.end()), int64_t{1} << 33);
}

TEST(Sampling, DrawsWithReplacementStayInRange) {
    const auto rows = draw_with_replacement(10, 1000, 1234);
    const std::set<int64_t> seen(rows.begin(), rows.end());
    EXPECT_EQ(seen.size(), 10u);
    EXPECT_EQ(*seen.begin(), 0);
    EXPECT_EQ(*seen.rbegin(), 9);
}

TEST(Sampling, SplitMix64FirstValue) {
    // Reference value of the generator for seed 1234567 (Vigna's test vector).
    const uint64_t first = 6457827717110365317u;
    const int64_t n = 1000003;
    EXPECT_EQ(
            draw_with_replacement(n, 1, 1234567)[0],
            static_cast<int64_t>(first & 0x7fffffffffffffffu) % n);
}

TEST(Sampling, NegativeSeedIsTheClock) {
    EXPECT_EQ(resolve_seed(7), 7);
    EXPECT_GE(resolve_seed(-1), 0);
}

} // namespace
} // namespace faiss_flash
