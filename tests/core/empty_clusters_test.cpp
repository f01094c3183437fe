#include <faiss_flash/core/rules.h>

#include <gtest/gtest.h>

#include <numeric>
#include <vector>

namespace faiss_flash {
namespace {

/// Returns the clusters split.
size_t split(int64_t d, int64_t n, std::vector<double>& counts, std::vector<float>& centroids) {
    const auto splits = choose_splits(static_cast<int64_t>(counts.size()), n, counts.data());
    apply_splits(splits, d, centroids.data());
    return splits.size();
}

TEST(EmptyClusters, TakesHalfOfADonorAndMovesBothApart) {
    std::vector<double> counts{0, 1000, 0, 2};
    std::vector<float> centroids{0, 0, 1024, 1024, 0, 0, 5, 5};
    EXPECT_EQ(split(2, 1002, counts, centroids), 2u);
    EXPECT_EQ(std::accumulate(counts.begin(), counts.end(), 0.0), 1002);
    for (const double count : counts) {
        EXPECT_GT(count, 0);
    }
    EXPECT_EQ(counts[3], 2); // too small to be a donor: p = 1/998 a try
    EXPECT_NE(centroids[0], centroids[2]);
    EXPECT_NE(centroids[2], centroids[4]);
    EXPECT_EQ(centroids[6], 5.0f);
}

TEST(EmptyClusters, FirstSplitIsExact) {
    std::vector<double> counts{10, 0};
    std::vector<float> centroids{1024, 1024, 7, 7};
    EXPECT_EQ(split(2, 10, counts, centroids), 1u);
    EXPECT_EQ(centroids, (std::vector<float>{1023, 1025, 1025, 1023}));
    EXPECT_EQ(counts, (std::vector<double>{5, 5}));
}

TEST(EmptyClusters, TinyWeightsEnd) {
    std::vector<double> counts{1e-6, 0, 3e-6, 0};
    std::vector<float> centroids{1, 2, 3, 4};
    EXPECT_EQ(split(1, 100, counts, centroids), 2u);
    // Every probability is negative, so the first of the largest clusters was taken each time.
    EXPECT_EQ(counts, (std::vector<double>{1e-6, 0.75e-6, 1.5e-6, 0.75e-6}));
}

TEST(EmptyClusters, NothingToDo) {
    std::vector<double> counts{1, 2};
    std::vector<float> centroids{1, 2};
    EXPECT_EQ(split(1, 3, counts, centroids), 0u);
    EXPECT_EQ(centroids, (std::vector<float>{1, 2}));
}

} // namespace
} // namespace faiss_flash
