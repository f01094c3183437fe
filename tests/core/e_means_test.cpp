/// Algorithm::e_means: against the method written down plainly, and what is promised of it.
#include <faiss_flash/core/backend.h>
#include <faiss_flash/core/moving_averages.h>
#include <faiss_flash/core/row_order.h>
#include <faiss_flash/core/sampling.h>
#include <faiss_flash/kmeans.h>

#include <support/data.h>
#include <support/oracle.h>

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <set>
#include <string>
#include <vector>

namespace faiss_flash {
namespace {

using test::Floats;

KMeansOptions e_means(int epochs) {
    KMeansOptions options;
    options.device = "cpu";
    options.algorithm = Algorithm::e_means;
    options.operating_point = OperatingPoint::quality;
    options.niter = epochs;
    options.max_points_per_centroid = -1;
    return options;
}

KMeansOptions lloyd(int iterations) {
    KMeansOptions options = e_means(iterations);
    options.algorithm = Algorithm::lloyd;
    return options;
}

KMeansResult run(const Floats& x, int64_t d, int64_t k, const KMeansOptions& options) {
    KMeansInput input;
    input.points = VectorView::of(x.data(), static_cast<int64_t>(x.size()) / d, d);
    return kmeans(input, k, options);
}

double objective(const Floats& x, int64_t d, const KMeansResult& result) {
    double sum = 0;
    const auto n = static_cast<int64_t>(x.size()) / d;
    std::vector<int64_t> ids(static_cast<size_t>(n));
    Floats distances(ids.size());
    assign(VectorView::of(x.data(), n, d),
           VectorView::of(result.centroids.data(), result.k, d),
           Metric::l2,
           ids.data(),
           distances.data(),
           "cpu");
    for (const float distance : distances) {
        sum += distance;
    }
    return sum;
}

TEST(RowOrder, HoldsEveryRowOnce) {
    for (const int64_t n : {1, 2, 3, 4, 5, 7, 8, 9, 100, 1000, 1024, 1025, 4099}) {
        for (const uint64_t seed : {0, 1, 7}) {
            const RowOrder order = RowOrder::shuffled(n, seed);
            std::set<int64_t> rows;
            for (int64_t i = 0; i < n; i++) {
                rows.insert(order.row(i));
            }
            ASSERT_EQ(static_cast<int64_t>(rows.size()), n);
            ASSERT_EQ(*rows.begin(), 0);
            ASSERT_EQ(*rows.rbegin(), n - 1);
        }
    }
}

/// Rows of neighbouring places are spread as random numbers are, and so are the places that
/// neighbouring rows come to.
TEST(RowOrder, IsAShuffle) {
    for (const int64_t n : {1000, 65536, 100003}) {
        const RowOrder order = RowOrder::shuffled(n, 3);
        constexpr int64_t kPieces = 10;
        std::vector<int64_t> found(kPieces * kPieces);
        int64_t neighbours = 0;
        for (int64_t i = 0; i < n; i++) {
            const int64_t row = order.row(i);
            found[static_cast<size_t>(i * kPieces / n * kPieces + row * kPieces / n)]++;
            neighbours += i > 0 && std::abs(row - order.row(i - 1)) == 1;
        }
        const double expected = static_cast<double>(n) / (kPieces * kPieces);
        for (const int64_t count : found) {
            EXPECT_NEAR(static_cast<double>(count), expected, 6 * std::sqrt(expected)) << n;
        }
        EXPECT_LE(neighbours, 20) << n;
    }
}

TEST(RowOrder, KeepsNeighboursOfHugeArraysTogether) {
    const int64_t n = (int64_t{1} << 30) + 5;
    const RowOrder order = RowOrder::shuffled(n, 1);
    ASSERT_EQ(order.block_bits, 6);
    for (const int64_t first : {int64_t{0}, int64_t{64} * 12345, (int64_t{1} << 30) - 64}) {
        for (int64_t i = 1; i < 64; i++) {
            ASSERT_EQ(order.row(first + i), order.row(first) + i);
        }
    }
    EXPECT_EQ(order.row(n - 1), n - 1);
}

TEST(EmeansRecipe, FollowsTheLaws) {
    KMeansOptions options = e_means(3);
    const EmeansRecipe quality = e_means_recipe(1 << 20, 8192, options);
    EXPECT_EQ(quality.batch_size, 8192);
    EXPECT_NEAR(quality.alpha0, 0.074826, 1e-5);
    options.operating_point = OperatingPoint::throughput;
    EXPECT_EQ(e_means_recipe(1 << 20, 8192, options).batch_size, 65536);
    EXPECT_EQ(e_means_recipe(100, 50, options).batch_size, 8);
    EXPECT_EQ(e_means_recipe(1, 1, options).batch_size, 1);
    options.batch_size = 1000;
    options.alpha0 = 0.5;
    EXPECT_EQ(e_means_recipe(10000, 10, options).batch_size, 1000);
    EXPECT_EQ(e_means_recipe(300, 10, options).batch_size, 300);
    EXPECT_EQ(e_means_recipe(300, 10, options).alpha0, 0.5);
}

TEST(EmeansSchedule, TakesEveryRowOnceAnEpoch) {
    KMeansOptions options = e_means(4);
    options.batch_size = 7;
    options.alpha0 = 0.5;
    const EmeansSchedule schedule(100, 5, options);
    ASSERT_EQ(schedule.batches(), 15);
    double before = 1;
    std::set<std::vector<int64_t>> orders;
    for (int epoch = 0; epoch < 4; epoch++) {
        std::vector<int64_t> firsts;
        for (int64_t i = 0; i < 15; i++) {
            const EmeansBatch batch = schedule.batch(9, epoch, i);
            EXPECT_EQ(batch.count, i == 14 ? 2 : 7);
            EXPECT_EQ(batch.begins, i == 0);
            EXPECT_EQ(batch.closes, epoch == 3);
            EXPECT_EQ(batch.revives, (epoch * 15 + i) % 5 == 4);
            EXPECT_LT(batch.alpha, before);
            EXPECT_EQ(batch.alpha, static_cast<float>(batch.alpha));
            before = batch.alpha;
            firsts.push_back(batch.first);
        }
        orders.insert(firsts);
        std::sort(firsts.begin(), firsts.end());
        for (int64_t i = 0; i < 15; i++) {
            EXPECT_EQ(firsts[static_cast<size_t>(i)], 7 * i);
        }
    }
    EXPECT_EQ(orders.size(), 4u);
    EXPECT_NEAR(before, 0.05, 0.001);
}

TEST(Donors, AreOthersAndEachOnce) {
    std::vector<int64_t> units(50, 1000);
    units[3] = units[17] = units[49] = 2;
    for (uint64_t seed = 0; seed < 100; seed++) {
        const std::vector<Split> splits = choose_donors(units, seed);
        ASSERT_EQ(splits.size(), 3u);
        std::set<int64_t> donors;
        for (const Split& split : splits) {
            donors.insert(split.donor);
            ASSERT_EQ(units[static_cast<size_t>(split.donor)], 1000);
        }
        ASSERT_EQ(donors.size(), 3u);
        ASSERT_EQ(splits[0].empty, 3);
        ASSERT_EQ(splits[2].empty, 49);
    }
    EXPECT_TRUE(choose_donors({5, 5, 5}, 1).empty());
    EXPECT_TRUE(choose_donors({0, 0}, 1).empty());
}

TEST(Donors, ComeInProportionToTheirUsage) {
    const std::vector<int64_t> units = {0, 100, 300, 600};
    std::vector<int> drawn(4);
    constexpr int kTimes = 20000;
    for (uint64_t seed = 0; seed < kTimes; seed++) {
        const std::vector<Split> splits = choose_donors(units, seed);
        ASSERT_EQ(splits.size(), 1u);
        drawn[static_cast<size_t>(splits[0].donor)]++;
    }
    for (size_t i = 0; i < 4; i++) {
        EXPECT_NEAR(drawn[i], kTimes * static_cast<double>(units[i]) / 1000, 350);
    }
}

/// Where nearly all are below a tenth of the mean there are few donors.
TEST(Donors, MayBeFewerThanClusters) {
    std::vector<int64_t> units(1000, 0);
    units[10] = 1 << 20;
    units[20] = 1 << 19;
    const std::vector<Split> splits = choose_donors(units, 5);
    ASSERT_EQ(splits.size(), 2u);
    EXPECT_EQ(splits[0].empty, 0);
    EXPECT_EQ(splits[1].empty, 1);
}

/// The method of core/moving_averages.h step by step over all pairs. Sums are in float64.
struct Plainly {
    const Floats& x;
    int64_t n, d, k;
    const KMeansOptions& options;
    std::vector<double> usage, sums;
    std::vector<double> objectives;
    int64_t revived = 0;

    Plainly(const Floats& points, int64_t columns, int64_t clusters, const KMeansOptions& all)
        : x(points),
          n(static_cast<int64_t>(points.size()) / columns),
          d(columns),
          k(clusters),
          options(all),
          usage(static_cast<size_t>(clusters), 0x1p-16) {}

    Floats centroids() const {
        Floats result(static_cast<size_t>(k * d));
        for (size_t i = 0; i < result.size(); i++) {
            const double own = usage[i / static_cast<size_t>(d)];
            result[i] = static_cast<float>(sums[i] / std::max(own, 1e-5));
        }
        return result;
    }

    Floats run(Floats first) {
        for (const float value : first) {
            sums.push_back(0x1p-16 * value);
        }
        const EmeansSchedule schedule(n, k, options);
        const auto seed = static_cast<uint64_t>(options.seed);
        const RowOrder order = RowOrder::shuffled(n, seed);
        std::vector<double> all_sizes, all_sums;
        for (int epoch = 0; epoch < options.niter; epoch++) {
            double objective = 0;
            all_sizes.assign(static_cast<size_t>(k), 0);
            all_sums.assign(static_cast<size_t>(k * d), 0);
            for (int64_t i = 0; i < schedule.batches(); i++) {
                const EmeansBatch batch = schedule.batch(random_number(seed, 0), epoch, i);
                const Floats now = centroids();
                std::vector<double> sizes(static_cast<size_t>(k)), of_batch(sums.size());
                for (int64_t place = batch.first; place < batch.first + batch.count; place++) {
                    const float* row = x.data() + order.row(place) * d;
                    const auto best = test::nearest(Metric::l2, row, now.data(), k, d);
                    objective += static_cast<double>(best.value);
                    sizes[static_cast<size_t>(best.id)] += 1;
                    for (int64_t j = 0; j < d; j++) {
                        of_batch[static_cast<size_t>(best.id * d + j)] += row[j];
                    }
                }
                for (size_t c = 0; c < usage.size(); c++) {
                    usage[c] += batch.alpha * (sizes[c] - usage[c]);
                    all_sizes[c] += sizes[c];
                }
                for (size_t v = 0; v < sums.size(); v++) {
                    sums[v] += batch.alpha * (of_batch[v] - sums[v]);
                    all_sums[v] += of_batch[v];
                }
                if (batch.revives) {
                    revive(batch.seed);
                }
            }
            objectives.push_back(objective);
        }
        Floats result = centroids();
        for (size_t v = 0; v < result.size(); v++) {
            const double size = all_sizes[v / static_cast<size_t>(d)];
            result[v] = size > 0 ? static_cast<float>(all_sums[v] / size) : result[v];
        }
        return result;
    }

    void revive(uint64_t seed) {
        std::vector<int64_t> units;
        for (const double own : usage) {
            units.push_back(static_cast<int64_t>(own * 0x1p30));
        }
        for (const Split& split : choose_donors(units, seed)) {
            revived++;
            const auto from = static_cast<size_t>(split.donor);
            const auto to = static_cast<size_t>(split.empty);
            usage[from] /= 2;
            usage[to] = usage[from];
            for (size_t j = 0; j < static_cast<size_t>(d); j++) {
                const auto columns = static_cast<size_t>(d);
                const double half = sums[from * columns + j] / 2;
                const double sign = j % 2 == 0 ? 1e-4 : -1e-4;
                sums[to * columns + j] = half * (1 + sign);
                sums[from * columns + j] = half * (1 - sign);
            }
        }
    }
};

/// Until a row lies between two centroids nothing differs by more than roundings.
TEST(Emeans, IsTheMethodWrittenDownPlainly) {
    constexpr int64_t kD = 6;
    constexpr int64_t kK = 12;
    const Floats x = test::mixture(3001, kD, 40, 5, 0.3f);
    KMeansOptions options = e_means(3);
    options.batch_size = 100;
    options.alpha0 = 0.3;
    const Floats first(x.begin(), x.begin() + kK * kD);
    KMeansInput input;
    input.points = VectorView::of(x.data(), 3001, kD);
    input.initial_centroids = VectorView::of(first.data(), kK, kD);
    const KMeansResult result = kmeans(input, kK, options);
    Plainly plainly(x, kD, kK, options);
    const Floats expected = plainly.run(first);
    ASSERT_EQ(result.iterations.size(), 3u);
    int64_t splits = 0;
    for (size_t i = 0; i < 3; i++) {
        EXPECT_NEAR(result.iterations[i].objective / plainly.objectives[i], 1, 1e-5) << i;
        splits += result.iterations[i].nsplit;
    }
    EXPECT_EQ(splits, plainly.revived);
    for (size_t v = 0; v < expected.size(); v++) {
        EXPECT_NEAR(result.centroids[v], expected[v], 1e-4) << v;
    }
}

TEST(Emeans, RevivesClustersThatNobodyUses) {
    constexpr int64_t kD = 4;
    constexpr int64_t kK = 16;
    const Floats x = test::mixture(4000, kD, 16, 3, 0.05f);
    const Floats far(static_cast<size_t>(kK * kD), 1000.0f);
    Floats first = far;
    std::copy_n(x.begin(), kD, first.begin());
    KMeansInput input;
    input.points = VectorView::of(x.data(), 4000, kD);
    input.initial_centroids = VectorView::of(first.data(), kK, kD);
    KMeansOptions options = e_means(6);
    options.batch_size = 64;
    options.alpha0 = 0.2;
    const KMeansResult result = kmeans(input, kK, options);
    EXPECT_GE(result.iterations[0].nsplit, 15);
    const double reached = objective(x, kD, result);
    const double best = objective(x, kD, run(x, kD, kK, lloyd(25)));
    EXPECT_LT(reached, 1.5 * best);
}

/// Three epochs against 25 of Lloyd's iterations from the same first centroids.
TEST(Emeans, ReachesLloydsObjectiveInThreePasses) {
    constexpr int64_t kD = 16;
    constexpr int64_t kK = 64;
    const Floats x = test::mixture(30000, kD, 300, 7, 0.5f);
    KMeansInput input;
    input.points = VectorView::of(x.data(), 30000, kD);
    input.initial_centroids = VectorView::of(x.data(), kK, kD);
    const double by_lloyd = objective(x, kD, kmeans(input, kK, lloyd(25)));
    const double by_e_means = objective(x, kD, kmeans(input, kK, e_means(3)));
    EXPECT_LT(by_e_means, 1.005 * by_lloyd);
}

/// Rows that lie cluster by cluster are as good as any.
TEST(Emeans, MindsNoOrderOfTheRows) {
    constexpr int64_t kD = 8;
    constexpr int64_t kK = 32;
    const Floats x = test::mixture(20000, kD, 100, 11, 0.3f);
    const KMeansResult shuffled = run(x, kD, kK, e_means(3));
    const KMeansResult labels = run(x, kD, 100, lloyd(20));
    std::vector<int64_t> ids(20000);
    assign(VectorView::of(x.data(), 20000, kD),
           VectorView::of(labels.centroids.data(), 100, kD),
           Metric::l2,
           ids.data(),
           nullptr,
           "cpu");
    std::vector<int64_t> rows(ids.size());
    std::iota(rows.begin(), rows.end(), 0);
    std::stable_sort(rows.begin(), rows.end(), [&](int64_t a, int64_t b) {
        return ids[static_cast<size_t>(a)] < ids[static_cast<size_t>(b)];
    });
    Floats sorted;
    for (const int64_t row : rows) {
        sorted.insert(sorted.end(), x.begin() + row * kD, x.begin() + (row + 1) * kD);
    }
    const double of_sorted = objective(x, kD, run(sorted, kD, kK, e_means(3)));
    EXPECT_NEAR(of_sorted / objective(x, kD, shuffled), 1, 0.02);
}

TEST(Emeans, TellsTheObjectiveOfTheMovingCentroids) {
    constexpr int64_t kD = 8;
    const Floats x = test::normal(5000, kD, 3);
    const KMeansResult result = run(x, kD, 20, e_means(5));
    ASSERT_EQ(result.iterations.size(), 5u);
    for (size_t i = 1; i < 5; i++) {
        EXPECT_LT(result.iterations[i].objective, result.iterations[i - 1].objective);
        EXPECT_GE(result.iterations[i].time, result.iterations[i - 1].time);
        EXPECT_GE(result.iterations[i].imbalance_factor, 1);
    }
    EXPECT_LT(objective(x, kD, result), result.iterations.back().objective);
}

TEST(Emeans, KeepsFrozenCentroids) {
    constexpr int64_t kD = 5;
    const Floats x = test::normal(2000, kD, 9);
    const Floats given = test::normal(3, kD, 10);
    KMeansInput input;
    input.points = VectorView::of(x.data(), 2000, kD);
    input.initial_centroids = VectorView::of(given.data(), 3, kD);
    KMeansOptions options = e_means(3);
    options.frozen_centroids = true;
    const KMeansResult result = kmeans(input, 10, options);
    EXPECT_TRUE(std::equal(given.begin(), given.end(), result.centroids.begin()));
}

TEST(Emeans, HasCentroidsOfLength1WhereTheyAreSpherical) {
    constexpr int64_t kD = 12;
    const Floats x = test::mixture(3000, kD, 30, 2, 0.4f);
    KMeansOptions options = e_means(3);
    options.metric = Metric::inner_product;
    options.spherical = true;
    const KMeansResult result = run(x, kD, 20, options);
    for (int64_t c = 0; c < 20; c++) {
        double squares = 0;
        for (int64_t j = 0; j < kD; j++) {
            const double value = result.centroids[static_cast<size_t>(c * kD + j)];
            squares += value * value;
        }
        EXPECT_NEAR(squares, 1, 1e-5);
    }
    options = lloyd(25);
    options.metric = Metric::inner_product;
    options.spherical = true;
    const double by_lloyd = run(x, kD, 20, options).iterations.back().objective;
    EXPECT_GT(result.iterations.back().objective, 0.97 * by_lloyd);
}

/// A weight of 2 pulls as two points do; points of weight 0 are not there.
TEST(Emeans, WeighsPoints) {
    constexpr int64_t kD = 3;
    const Floats x = test::mixture(4000, kD, 8, 6, 0.2f);
    Floats far = x;
    Floats weights(8000, 2.0f);
    for (int64_t i = 0; i < 4000; i++) {
        far.insert(far.end(), {1000.0f, 1000.0f + static_cast<float>(i), 0.0f});
        weights[static_cast<size_t>(4000 + i)] = 0;
    }
    KMeansInput input;
    input.points = VectorView::of(far.data(), 8000, kD);
    input.weights = VectorView::of(weights.data(), 8000, 1);
    input.initial_centroids = VectorView::of(x.data(), 8, kD);
    const KMeansResult result = kmeans(input, 8, e_means(4));
    for (size_t i = 0; i < result.centroids.size(); i++) {
        EXPECT_LT(std::abs(result.centroids[i]), 10);
    }
}

TEST(Emeans, CanBeStoppedByTheCallback) {
    const Floats x = test::normal(3000, 4, 1);
    KMeansOptions options = e_means(5);
    int calls = 0;
    options.callback = [&](const IterationStats&, double) { return ++calls < 2; };
    const KMeansResult result = run(x, 4, 10, options);
    EXPECT_EQ(result.iterations.size(), 2u);
    EXPECT_TRUE(std::all_of(result.centroids.begin(), result.centroids.end(), [](float value) {
        return std::isfinite(value);
    }));
}

TEST(Emeans, AssignsTheCallersRows) {
    const Floats x = test::normal(2000, 4, 1);
    KMeansOptions options = e_means(2);
    options.return_assignment = true;
    const KMeansResult result = run(x, 4, 10, options);
    ASSERT_EQ(result.assignment.size(), 2000u);
    for (int64_t i = 0; i < 2000; i++) {
        const auto best =
                test::nearest(Metric::l2, x.data() + i * 4, result.centroids.data(), 10, 4);
        EXPECT_EQ(result.assignment[static_cast<size_t>(i)], best.id);
    }
}

TEST(Emeans, TakesAnyShape) {
    for (const int64_t n : {2, 3, 5, 17, 40}) {
        for (const int64_t k : {1, 2, 3, 16}) {
            for (const int64_t d : {1, 2, 9}) {
                if (k > n) {
                    continue;
                }
                const KMeansResult result = run(test::normal(n, d, 4), d, k, e_means(2));
                EXPECT_EQ(static_cast<int64_t>(result.centroids.size()), k * d);
                EXPECT_TRUE(std::isfinite(result.centroids[0]));
            }
        }
    }
}

TEST(Emeans, RefusesBadOptions) {
    const Floats x = test::normal(100, 2, 1);
    const auto message = [&](const KMeansOptions& options) -> std::string {
        try {
            run(x, 2, 5, options);
        } catch (const InvalidArgument& error) {
            return error.what();
        }
        return "";
    };
    KMeansOptions options = e_means(2);
    options.batch_size = -3;
    EXPECT_EQ(message(options), "batch_size=-3 must be positive");
    options.batch_size = 50;
    EXPECT_EQ(message(options), "batch_size=50 and alpha0=0.000000 belong together");
    options.alpha0 = 1.5;
    EXPECT_EQ(message(options), "alpha0=1.500000 must be in (0, 1]");
    options.alpha0 = std::nan("");
    EXPECT_EQ(message(options), "alpha0=nan must be in (0, 1]");
    options = e_means(2);
    options.algorithm = static_cast<Algorithm>(7);
    EXPECT_EQ(message(options), "algorithm=7 is not an Algorithm");
}

} // namespace
} // namespace faiss_flash
