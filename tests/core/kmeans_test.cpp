#include <faiss_flash/kmeans.h>

#include <support/data.h>
#include <support/oracle.h>

#include <gtest/gtest.h>
#include <omp.h>

#include <algorithm>
#include <cmath>
#include <stdexcept>

namespace faiss_flash {
namespace {

using test::Floats;

KMeansInput input_of(const Floats& x, int64_t d) {
    KMeansInput input;
    input.points = VectorView::of(x.data(), static_cast<int64_t>(x.size()) / d, d);
    return input;
}

/// Lloyd written plainly in float64: what the engine must follow, bar ties.
double reference_objective(const Floats& x, Floats centroids, int64_t d, int iterations) {
    const auto n = static_cast<int64_t>(x.size()) / d;
    const auto k = static_cast<int64_t>(centroids.size()) / d;
    double objective = 0;
    for (int iteration = 0; iteration < iterations; iteration++) {
        std::vector<double> sums(centroids.size(), 0.0);
        std::vector<double> counts(static_cast<size_t>(k), 0.0);
        objective = 0;
        for (int64_t i = 0; i < n; i++) {
            const auto best = test::nearest(Metric::l2, &x[size_t(i * d)], centroids.data(), k, d);
            objective += static_cast<double>(best.value);
            counts[size_t(best.id)]++;
            for (int64_t j = 0; j < d; j++) {
                sums[size_t(best.id * d + j)] += x[size_t(i * d + j)];
            }
        }
        for (int64_t c = 0; c < k * d; c++) {
            centroids[size_t(c)] = static_cast<float>(sums[size_t(c)] / counts[size_t(c / d)]);
        }
    }
    return objective;
}

TEST(KMeans, FollowsAReferenceLloyd) {
    const Floats x = test::mixture(3000, 12, 20, 1, 0.5f);
    const Floats initial(x.begin(), x.begin() + 10 * 12);
    KMeansInput input = input_of(x, 12);
    input.initial_centroids = VectorView::of(initial.data(), 10, 12);
    KMeansOptions options;
    options.niter = 8;
    options.max_points_per_centroid = -1;
    options.early_stop_threshold.reset();
    const auto result = kmeans(input, 10, options);
    ASSERT_EQ(result.iterations.size(), 8u);
    const double expected = reference_objective(x, initial, 12, 8);
    EXPECT_NEAR(result.iterations.back().objective, expected, 1e-9 * expected);
}

TEST(KMeans, SameBitsForAnyNumberOfThreads) {
    const Floats x = test::normal(20000, 24, 2);
    Floats weights = test::descriptors(20000, 1, 3);
    weights[0] = 1e-3f;
    KMeansInput input = input_of(x, 24);
    input.weights = VectorView::of(weights.data(), 20000, 1);
    KMeansOptions options;
    options.nredo = 2;
    std::vector<KMeansResult> results;
    const int before = omp_get_max_threads();
    for (const int threads : {1, 2, 5, 2}) {
        omp_set_num_threads(threads);
        results.push_back(kmeans(input, 70, options));
    }
    omp_set_num_threads(before);
    for (const auto& result : results) {
        EXPECT_EQ(result.centroids, results[0].centroids);
        ASSERT_EQ(result.iterations.size(), results[0].iterations.size());
        for (size_t i = 0; i < result.iterations.size(); i++) {
            EXPECT_EQ(result.iterations[i].objective, results[0].iterations[i].objective);
        }
    }
}

TEST(KMeans, WeightsActLikeCopies) {
    const Floats x = test::normal(500, 6, 4);
    Floats copies;
    Floats weights;
    for (size_t i = 0; i < 500; i++) {
        const size_t count = 1 + i % 3;
        weights.push_back(static_cast<float>(count));
        for (size_t c = 0; c < count; c++) {
            copies.insert(copies.end(), x.begin() + long(i * 6), x.begin() + long(i * 6 + 6));
        }
    }
    KMeansOptions options;
    options.niter = 6;
    options.max_points_per_centroid = -1;
    KMeansInput weighted = input_of(x, 6);
    weighted.weights = VectorView::of(weights.data(), 500, 1);
    KMeansInput copied = input_of(copies, 6);
    weighted.initial_centroids = copied.initial_centroids = VectorView::of(x.data(), 9, 6);
    EXPECT_EQ(kmeans(weighted, 9, options).centroids, kmeans(copied, 9, options).centroids);
}

TEST(KMeans, BatchEqualsSingles) {
    const Floats a = test::normal(900, 5, 1);
    const Floats b = test::mixture(1500, 5, 8, 2, 0.1f);
    KMeansOptions options;
    options.niter = 5;
    const auto batch = batch_kmeans({input_of(a, 5), input_of(b, 5)}, 7, options);
    ASSERT_EQ(batch.size(), 2u);
    EXPECT_EQ(batch[0].centroids, kmeans(input_of(a, 5), 7, options).centroids);
    EXPECT_EQ(batch[1].centroids, kmeans(input_of(b, 5), 7, options).centroids);
}

TEST(KMeans, AssignmentCoversPointsThatWereNotSampled) {
    const Floats x = test::mixture(5000, 16, 30, 3, 0.3f);
    KMeansOptions options;
    options.max_points_per_centroid = 20;
    options.return_assignment = true;
    const auto result = kmeans(input_of(x, 16), 30, options);
    ASSERT_EQ(result.assignment.size(), 5000u);
    EXPECT_EQ(test::count_wrong(Metric::l2, x, result.centroids, 16, result.assignment), 0);
}

/// Whatever was trained on, and wherever these points are when the run is over.
TEST(KMeans, AssignmentIsWhatAssignGives) {
    constexpr int64_t kN = 5000;
    constexpr int64_t kD = 16;
    constexpr int64_t kK = 30;
    struct Bytes final : RowDecoder {
        void decode(int64_t n, const uint8_t* codes, float* out) const override {
            std::transform(codes, codes + n * kD, out, [](uint8_t code) { return code / 3.0f; });
        }
    };
    const Bytes decoder;
    const Floats x = test::descriptors(kN, kD, 13);
    const std::vector<uint8_t> bytes(x.begin(), x.end());
    std::vector<uint16_t> halves;
    for (const float value : x) {
        halves.push_back(static_cast<uint16_t>(0x6400 + value)); // 1024 more
    }
    Floats weights = test::normal(kN, 1, 14, 3, 0.5f);
    const KMeansInput plain = input_of(x, kD);
    KMeansInput weighted = plain;
    weighted.weights = VectorView::of(weights.data(), kN, 1);
    KMeansInput narrow = plain;
    narrow.points.data = bytes.data();
    narrow.points.dtype = DType::u8;
    KMeansInput half = plain;
    half.points.data = halves.data();
    half.points.dtype = DType::f16;
    KMeansInput decoded = narrow;
    decoded.points.row_stride = kD;
    decoded.points.decoder = &decoder;
    KMeansOptions all;
    all.niter = 4;
    all.max_points_per_centroid = -1;
    all.return_assignment = true;
    KMeansOptions sampled = all;
    sampled.max_points_per_centroid = 40;
    KMeansOptions restarts = all;
    restarts.nredo = 3;
    KMeansOptions spherical = restarts;
    spherical.metric = Metric::inner_product;
    spherical.spherical = true;
    KMeansOptions fast = all;
    fast.precision = Precision::fast;
    KMeansOptions stopped = all;
    stopped.callback = [](const IterationStats&, double) { return false; };
    for (const std::string& device : available_backends()) {
        for (const KMeansInput& input : {plain, weighted, narrow, half, decoded}) {
            for (KMeansOptions options : {all, sampled, restarts, spherical, fast, stopped}) {
                options.device = device;
                for (const KMeansResult& result : batch_kmeans({input, input}, kK, options)) {
                    const float* centroids = result.centroids.data();
                    std::vector<int64_t> ids(kN);
                    Floats distances(kN);
                    faiss_flash::assign(
                            input.points,
                            VectorView::of(centroids, kK, kD),
                            options.metric,
                            ids.data(),
                            distances.data(),
                            "cpu");
                    EXPECT_EQ(result.assignment, ids);
                    EXPECT_EQ(result.distances, distances);
                }
            }
        }
    }
}

TEST(KMeans, AsManyPointsAsCentroids) {
    const Floats x = test::normal(50, 3, 5);
    const auto result = kmeans(input_of(x, 3), 50);
    EXPECT_EQ(result.centroids, x);
    ASSERT_EQ(result.iterations.size(), 1u);
    EXPECT_EQ(result.iterations[0].objective, 0);
    EXPECT_EQ(result.iterations[0].imbalance_factor, 1);
}

TEST(KMeans, StopsWhenNothingChanges) {
    const Floats x = test::mixture(1000, 4, 5, 6, 0.01f);
    KMeansOptions options;
    options.niter = 100;
    const auto stopped = kmeans(input_of(x, 4), 5, options);
    EXPECT_LT(stopped.iterations.size(), 100u);
    options.early_stop_threshold.reset();
    EXPECT_EQ(kmeans(input_of(x, 4), 5, options).iterations.size(), 100u);
}

/// A restart draws its first centroids as a run of its own with that seed would.
TEST(KMeans, RestartsKeepTheBest) {
    constexpr int kRestarts = 6;
    const Floats x = test::mixture(2000, 4, 12, 7, 0.05f);
    KMeansOptions options;
    options.niter = 4;
    options.early_stop_threshold.reset();
    size_t best = 0;
    std::vector<KMeansResult> alone;
    for (int restart = 0; restart < kRestarts; restart++) {
        KMeansOptions one = options;
        one.seed += int64_t{15486557} * restart;
        alone.push_back(kmeans(input_of(x, 4), 12, one));
        const double objective = alone.back().iterations.back().objective;
        best = objective < alone[best].iterations.back().objective ? alone.size() - 1 : best;
    }
    ASSERT_GT(best, 0u) << "the first would be found without restarts";
    options.nredo = kRestarts;
    const auto result = kmeans(input_of(x, 4), 12, options);
    EXPECT_EQ(result.centroids, alone[best].centroids);
    ASSERT_EQ(result.iterations.size(), 4 * (best + 1)); // all up to the best one's
    for (size_t i = 0; i < result.iterations.size(); i++) {
        EXPECT_EQ(result.iterations[i].objective, alone[i / 4].iterations[i % 4].objective) << i;
    }
}

TEST(KMeans, SphericalCentroidsHaveLengthOne) {
    const Floats x = test::normal(1000, 8, 8);
    KMeansOptions options;
    options.metric = Metric::inner_product;
    options.spherical = true;
    const auto result = kmeans(input_of(x, 8), 10, options);
    for (int64_t c = 0; c < 10; c++) {
        const float* row = result.centroids.data() + c * 8;
        EXPECT_NEAR(double(test::exact_value(Metric::inner_product, row, row, 8)), 1, 1e-6);
    }
    EXPECT_GT(result.iterations.back().objective, result.iterations.front().objective);
}

TEST(KMeans, IntegerCentroids) {
    const Floats x = test::descriptors(1000, 8, 9);
    KMeansOptions options;
    options.int_centroids = true;
    for (const float value : kmeans(input_of(x, 8), 10, options).centroids) {
        EXPECT_EQ(value, std::round(value));
    }
}

/// Of iterations that each take a hundredth of the time after which poll() is due.
TEST(KMeans, PollExceptionStopsShortIterations) {
    const Floats x = test::normal(2000, 8, 10);
    KMeansOptions options;
    options.device = "cpu";
    options.niter = 10000000;
    options.early_stop_threshold.reset();
    int polls = 0;
    options.poll = [&] {
        if (++polls == 5) {
            throw std::runtime_error("stop");
        }
    };
    EXPECT_THROW(kmeans(input_of(x, 8), 10, options), std::runtime_error);
    EXPECT_EQ(polls, 5);
}

/// 1e25 squared is beyond float32; stock FAISS dies here.
TEST(KMeans, SquaresBeyondFloatRange) {
    Floats x = test::mixture(600, 4, 3, 11, 0.01f);
    for (float& value : x) {
        value *= 1e25f;
    }
    KMeansOptions options;
    options.return_assignment = true;
    const auto result = kmeans(input_of(x, 4), 3, options);
    EXPECT_EQ(test::count_wrong(Metric::l2, x, result.centroids, 4, result.assignment), 0);
    EXPECT_TRUE(std::isfinite(result.iterations.back().objective));
}

TEST(KMeans, ConstantData) {
    const Floats x(400, 3.25f);
    const auto result = kmeans(input_of(x, 4), 5);
    EXPECT_EQ(result.iterations[0].objective, 0);
    EXPECT_EQ(result.iterations[0].nsplit, 4);
}

TEST(KMeans, NoIterationGivesTheInitialCentroids) {
    const Floats x = test::descriptors(800, 6, 12);
    KMeansOptions options;
    options.niter = 0;
    options.nredo = 3;
    options.return_assignment = true;
    KMeansInput input = input_of(x, 6);
    input.initial_centroids = input_of(x, 6).points;
    input.initial_centroids.n = 2; // the first two; the other seven are points
    for (const std::string& device : available_backends()) {
        options.device = device;
        options.spherical = false;
        const KMeansResult result = kmeans(input, 9, options);
        EXPECT_TRUE(result.iterations.empty());
        EXPECT_TRUE(std::equal(x.begin(), x.begin() + 12, result.centroids.begin()));
        EXPECT_EQ(result.assignment[0], 0);
        EXPECT_EQ(result.assignment[1], 1);
        EXPECT_GE(std::count(result.distances.begin(), result.distances.end(), 0.f), 9);
        options.spherical = true;
        for (const KMeansResult& one : batch_kmeans({input, input}, 9, options)) {
            for (auto row = one.centroids.begin(); row != one.centroids.end(); row += 6) {
                EXPECT_NEAR(std::inner_product(row, row + 6, row, 0.f), 1, 1e-5);
            }
        }
    }
}

TEST(KMeans, EveryDTypeGivesTheSameClusters) {
    const Floats x = test::descriptors(800, 6, 12); // 0 to 255: exact in all types but i8
    std::vector<uint8_t> bytes(x.begin(), x.end());
    KMeansInput narrow;
    narrow.points.data = bytes.data();
    narrow.points.n = 800;
    narrow.points.d = 6;
    narrow.points.dtype = DType::u8;
    EXPECT_EQ(kmeans(narrow, 9).centroids, kmeans(input_of(x, 6), 9).centroids);
}

TEST(Estimate, GrowsWithTheWork) {
    KMeansOptions options;
    options.device = "cpu";
    options.niter = 10;
    const Estimate few = estimate(100000, 16, 100, options);
    EXPECT_EQ(few.device, "cpu");
    EXPECT_EQ(few.device_bytes, 0);
    EXPECT_GT(few.seconds, 0);
    options.max_points_per_centroid = -1;
    EXPECT_GT(estimate(100000, 16, 100, options).host_bytes, few.host_bytes); // no sample
    EXPECT_THROW(estimate(0, 16, 100, options), InvalidArgument);
    EXPECT_THROW(estimate(10, 16, 100, options), InvalidArgument);
}

} // namespace
} // namespace faiss_flash
