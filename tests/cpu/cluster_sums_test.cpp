/// The sums of a shard on the CPU, and the means and objectives that they come to.
#include <faiss_flash/cpu/centroids.h>
#include <faiss_flash/cpu/cluster_sums.h>
#include <faiss_flash/cpu/shard.h>

#include <support/data.h>

#include <gtest/gtest.h>
#include <omp.h>

#include <algorithm>
#include <cmath>
#include <random>

namespace faiss_flash::cpu {
namespace {

using test::Floats;

/// Weighted means in quadruple precision, rounded once.
Floats exact_means(
        const Floats& x,
        const Floats& weights,
        const std::vector<int32_t>& ids,
        int64_t k,
        int64_t d) {
    std::vector<__float128> sums(static_cast<size_t>(k * d), 0);
    std::vector<__float128> totals(static_cast<size_t>(k), 0);
    for (size_t i = 0; i < ids.size(); i++) {
        const __float128 weight = weights.empty() ? 1.0f : weights[i];
        const auto id = static_cast<size_t>(ids[i]);
        totals[id] += weight;
        for (size_t j = 0; j < static_cast<size_t>(d); j++) {
            sums[id * size_t(d) + j] += weight * x[i * size_t(d) + j];
        }
    }
    Floats means(sums.size(), 0.0f);
    for (size_t c = 0; c < means.size(); c++) {
        const __float128 total = totals[c / static_cast<size_t>(d)];
        if (total != 0) {
            means[c] = static_cast<float>(sums[c] / total);
        }
    }
    return means;
}

std::vector<int32_t> random_ids(int64_t n, int64_t k, unsigned seed) {
    std::mt19937 generator(seed);
    std::vector<int32_t> ids(static_cast<size_t>(n));
    for (auto& id : ids) { // half of all points in cluster 0, which is cut into pieces
        id = generator() % 2 ? 0 : static_cast<int32_t>(generator() % static_cast<unsigned>(k));
    }
    return ids;
}

struct Result {
    std::vector<int64_t> sizes;
    ClusterMeans clusters;
};

/// Of points that belong to clusters as ids say.
Result update(
        const Points& points,
        const float* weights,
        const std::vector<int32_t>& ids,
        const Floats& centroids,
        int64_t k) {
    const int64_t d = points.d();
    Workload workload{};
    workload = {
            1,
            points.n(),
            d,
            k,
            Metric::l2,
            DType::f32,
            Precision::exact,
            weights != nullptr,
            false};
    ClusterSums work(points, weights);
    const Format format = Format::plan({work.range()}, workload);
    const SumsLayout layout = sums_layout(format, workload);
    std::vector<int64_t> sums(static_cast<size_t>(layout.count()));
    int64_t* sizes = sums.data() + layout.sizes();
    work.start(format.columns[0], k, layout.row, sums.data(), sizes);
    work.run(ids, 0, points.n());
    DoubleDouble total{};
    if (!weights) {
        std::vector<int64_t> squares(static_cast<size_t>(format.square_limbs * d));
        work.add_squares(format.squares[0], squares.data());
        total = sum_of_columns(format.squares[0], squares.data(), d);
    }
    return {std::vector<int64_t>(sizes, sizes + k),
            find_means(format, workload, sums.data(), 0, centroids.data(), total)};
}

/// To the last bit but one of float64, in binary128.
void expect_exact_objective(
        double objective,
        const Floats& x,
        const Floats& centroids,
        const std::vector<int32_t>& ids,
        int64_t d) {
    __float128 expected = 0;
    for (size_t i = 0; i < ids.size(); i++) {
        for (size_t j = 0; j < static_cast<size_t>(d); j++) {
            const __float128 difference =
                    static_cast<__float128>(x[i * static_cast<size_t>(d) + j]) -
                    centroids[static_cast<size_t>(ids[i]) * static_cast<size_t>(d) + j];
            expected += difference * difference;
        }
    }
    EXPECT_NEAR(objective, static_cast<double>(expected), 3e-16 * objective);
}

struct Update : testing::TestWithParam<bool> {};

TEST_P(Update, MeansAreRoundedExactSums) {
    const int64_t n = 20011;
    const int64_t k = 37;
    const int64_t d = 19;
    Floats x = test::normal(n, d, 1, 10, 3);
    x[100] = 1e15f; // one outlier must not spoil its dimension
    const Floats weights = GetParam() ? test::normal(n, 1, 2, 5, 0.5f) : Floats();
    const auto ids = random_ids(n, k - 1, 3); // the last cluster stays empty
    const Points points(VectorView::of(x.data(), n, d));
    const Floats centroids = test::normal(k, d, 4, 10, 3);
    const float* weight_data = weights.empty() ? nullptr : weights.data();
    const Result result = update(points, weight_data, ids, centroids, k);
    const Floats expected = exact_means(x, weights, ids, k, d);
    for (size_t c = 0; c < expected.size(); c++) {
        // Two roundings (to double, then to float) can differ from one in the last bit.
        EXPECT_NEAR(result.clusters.means[c], expected[c], std::abs(expected[c]) * 6e-8) << c;
    }
    EXPECT_EQ(result.sizes.back(), 0);
    EXPECT_EQ(result.clusters.weights.back(), 0);
    EXPECT_GT(result.sizes[0], 8192);
    if (!GetParam()) {
        expect_exact_objective(result.clusters.objective, x, centroids, ids, d);
    }
}

/// Centres at 1e3 with a spread of 1e-3: 12 of a sum's digits cancel.
TEST(UpdateObjective, KeepsItsDigitsFarOut) {
    const int64_t n = 30000;
    const int64_t d = 24;
    const Floats x = test::normal(n, d, 1, 1e3f, 1e-3f);
    const Floats centroids = test::normal(50, d, 2, 1e3f, 1e-3f);
    const auto ids = random_ids(n, 50, 3);
    const Points points(VectorView::of(x.data(), n, d));
    const Result result = update(points, nullptr, ids, centroids, 50);
    expect_exact_objective(result.clusters.objective, x, centroids, ids, d);
}

TEST_P(Update, SameBitsForAnyNumberOfThreads) {
    const int64_t n = 30000;
    const Floats x = test::normal(n, 11, 4);
    const Floats weights = GetParam() ? test::normal(n, 1, 5, 5, 0.5f) : Floats();
    const auto ids = random_ids(n, 20, 6);
    const Points points(VectorView::of(x.data(), n, 11));
    const int before = omp_get_max_threads();
    std::vector<ClusterMeans> results;
    for (size_t run = 0; run < 3; run++) {
        omp_set_num_threads(run == 0 ? 1 : 4);
        const float* weight_data = weights.empty() ? nullptr : weights.data();
        results.push_back(update(points, weight_data, ids, x, 20).clusters);
    }
    omp_set_num_threads(before);
    for (size_t run = 1; run < 3; run++) {
        EXPECT_EQ(results[run].means, results[0].means);
        EXPECT_EQ(results[run].weights, results[0].weights);
        EXPECT_EQ(results[run].objective, results[0].objective);
    }
}

INSTANTIATE_TEST_SUITE_P(Weighted, Update, testing::Bool());

TEST(UpdateOrder, PointOrderDoesNotMatter) {
    const int64_t n = 9000;
    Floats x = test::normal(n, 5, 7);
    auto ids = random_ids(n, 8, 8);
    const Points straight(VectorView::of(x.data(), n, 5));
    const ClusterMeans forward = update(straight, nullptr, ids, x, 8).clusters;
    std::vector<int64_t> reversed(static_cast<size_t>(n));
    for (int64_t i = 0; i < n; i++) {
        reversed[static_cast<size_t>(i)] = n - 1 - i;
    }
    std::reverse(ids.begin(), ids.end());
    const Points points(VectorView::of(x.data(), n, 5), reversed);
    const ClusterMeans backward = update(points, nullptr, ids, x, 8).clusters;
    EXPECT_EQ(backward.means, forward.means);
    EXPECT_EQ(backward.objective, forward.objective);
}

} // namespace
} // namespace faiss_flash::cpu
