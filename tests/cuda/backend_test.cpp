/// The CUDA backend beside the CPU's: the same ids, distances, means and weights, bit for bit.
#include <faiss_flash/core/lloyd.h>
#include <faiss_flash/cpu/backend.h>
#include <faiss_flash/cuda/backend.h>
#include <faiss_flash/cuda/centroids.h>
#include <faiss_flash/cuda/device_info.h>

#include <support/data.h>
#include <support/shards.h>

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <thread>
#include <vector>

namespace faiss_flash {
namespace {

using test::Floats;

struct Data {
    const char* name;
    int64_t n, k, d;
    Floats points;    // [n x d]
    Floats centroids; // [k x d]
};

/// Rows of `points`, evenly spaced, as centroids: near-ties and exact hits.
Floats some_rows(const Floats& points, int64_t n, int64_t k, int64_t d) {
    Floats rows;
    for (int64_t i = 0; i < k; i++) {
        const auto* row = points.data() + i * n / k * d;
        rows.insert(rows.end(), row, row + d);
    }
    return rows;
}

Data make(const char* name, int64_t n, int64_t k, int64_t d, double mean, double spread) {
    Data data{
            name,
            n,
            k,
            d,
            test::normal(n, d, 11, static_cast<float>(mean), static_cast<float>(spread)),
            {}};
    data.centroids = some_rows(data.points, n, k, d);
    return data;
}

std::vector<Data> datasets() {
    std::vector<Data> all;
    all.push_back(make("normal", 20000, 300, 64, 0, 1));
    all.push_back(make("one_column", 5000, 40, 1, 0, 1));
    all.push_back(make("few_columns", 20000, 256, 8, 0, 1));
    all.push_back(make("odd_columns", 3001, 77, 33, 2, 1));
    all.push_back(make("many_columns", 1500, 70, 700, 0, 1));
    all.push_back(make("offset", 5000, 100, 32, 1e4, 1e-2));
    all.push_back(make("tight", 3000, 50, 96, 1, 1e-4));
    all.push_back(make("tiny", 3000, 50, 20, 0, 1e-30));
    all.push_back(make("huge", 3000, 50, 20, 0, 1e15));
    all.push_back(make("one_centroid", 1000, 1, 16, 0, 1));
    Data duplicates = make("duplicates", 4000, 200, 24, 0, 1);
    for (int64_t c = 100; c < 200; c++) {
        std::copy_n(
                duplicates.centroids.begin() + (c - 100) * 24,
                24,
                duplicates.centroids.begin() + c * 24);
    }
    all.push_back(duplicates);
    Data constant = make("constant", 1000, 10, 12, 0, 1);
    std::fill(constant.points.begin(), constant.points.end(), 3.25f);
    std::fill(constant.centroids.begin(), constant.centroids.end(), 3.25f);
    all.push_back(constant);
    Data dominated = make("one_column_dominates", 4000, 90, 40, 0, 1);
    for (size_t i = 0; i < dominated.points.size(); i += 40) {
        dominated.points[i] *= 1e5f;
    }
    dominated.centroids = some_rows(dominated.points, 4000, 90, 40);
    all.push_back(dominated);
    return all;
}

struct CudaBackend : testing::Test {
    const Backend& cpu = cpu::backend();
    const Backend* cuda = nullptr;
    void SetUp() override {
        const auto devices = cuda::backends();
        if (devices.empty()) {
            GTEST_SKIP() << "no CUDA device";
        }
        cuda = devices.front();
    }
};

TEST_F(CudaBackend, AssignsAsTheCpuDoes) {
    for (const Data& data : datasets()) {
        for (const Metric metric : {Metric::l2, Metric::inner_product}) {
            SCOPED_TRACE(std::string(data.name) + (metric == Metric::l2 ? " l2" : " ip"));
            const Points points(VectorView::of(data.points.data(), data.n, data.d));
            const auto n = static_cast<size_t>(data.n);
            std::vector<int64_t> ids(n, -7), expected_ids(n);
            Floats distances(n, -7), expected(n);
            cpu.assign(
                    points,
                    data.centroids.data(),
                    data.k,
                    metric,
                    expected_ids.data(),
                    expected.data());
            cuda->assign(
                    points, data.centroids.data(), data.k, metric, ids.data(), distances.data());
            EXPECT_EQ(ids, expected_ids);
            EXPECT_EQ(std::memcmp(distances.data(), expected.data(), n * sizeof(float)), 0);
        }
    }
}

/// Centroids that stay on the device, used by several threads and after others have come and gone.
TEST_F(CudaBackend, KeptCentroidsAssignAsTheCpuDoes) {
    const Floats x = test::mixture(5000, 48, 60, 1, 0.4f);
    const Points points(VectorView::of(x.data(), 5000, 48));
    std::vector<int64_t> expected(5000);
    Floats distances(5000);
    cpu.assign(points, x.data(), 300, Metric::l2, expected.data(), distances.data());
    const auto kept = cuda->prepare(x.data(), 300, 48, Metric::l2);
    std::vector<std::thread> threads;
    for (int t = 0; t < 4; t++) {
        threads.emplace_back([&] {
            for (int i = 0; i < 3; i++) {
                cuda->prepare(x.data() + 48, 300, 48, Metric::l2); // given back at once
                std::vector<int64_t> ids(5000);
                Floats values(5000);
                kept->assign(points, ids.data(), values.data());
                EXPECT_EQ(ids, expected);
                EXPECT_EQ(values, distances);
            }
        });
    }
    for (std::thread& thread : threads) {
        thread.join();
    }
}

/// By the model alone, once the device is in use.
TEST_F(CudaBackend, LargeWorkIsExpectedToBeFaster) {
    const Workload few{1, 300, 32, 10, Metric::l2, DType::f32, Precision::exact, false, false};
    EXPECT_GT(cuda->seconds(few, 10), cpu.seconds(few, 10));
    Workload many = few;
    many.n = 300000;
    many.k = 1024;
    many.d = 128;
    EXPECT_LT(cuda->seconds(many, 10), cpu.seconds(many, 10));
    many.d = 40000; // has no kernel
    EXPECT_TRUE(std::isinf(cuda->seconds(many, 10)));
}

TEST_F(CudaBackend, NonFiniteRowsGetNoCentroid) {
    Floats x = test::normal(1000, 20, 3);
    x[5 * 20 + 3] = NAN;
    x[900 * 20] = INFINITY;
    std::vector<int64_t> ids(1000);
    Floats distances(1000);
    cuda->assign(
            Points(VectorView::of(x.data(), 1000, 20)),
            x.data() + 200,
            50,
            Metric::l2,
            ids.data(),
            distances.data());
    for (size_t i = 0; i < ids.size(); i++) {
        const bool bad = i == 5 || i == 900;
        EXPECT_EQ(ids[i] == -1, bad) << i;
        EXPECT_EQ(std::isnan(distances[i]), bad) << i;
    }
}

/// A few iterations on both.
void expect_equal_runs(
        const Backend& cpu,
        const Backend& cuda,
        const Points& points,
        const float* weights,
        Metric metric,
        const Floats& centroids,
        int64_t k) {
    KMeansOptions options;
    options.metric = metric;
    options.niter = 3;
    options.early_stop_threshold.reset();
    const std::vector<Problem> problem{{points, weights}};
    const auto expected = run_lloyd(cpu, problem, {centroids}, k, options).front();
    const auto result = run_lloyd(cuda, problem, {centroids}, k, options).front();
    ASSERT_EQ(result.centroids.size(), expected.centroids.size());
    EXPECT_EQ(
            std::memcmp(
                    result.centroids.data(),
                    expected.centroids.data(),
                    result.centroids.size() * sizeof(float)),
            0);
    ASSERT_EQ(result.iterations.size(), expected.iterations.size());
    for (size_t i = 0; i < result.iterations.size(); i++) {
        EXPECT_EQ(result.iterations[i].objective, expected.iterations[i].objective) << i;
        EXPECT_EQ(result.iterations[i].nsplit, expected.iterations[i].nsplit) << i;
        EXPECT_EQ(result.iterations[i].imbalance_factor, expected.iterations[i].imbalance_factor)
                << i;
    }
}

TEST_F(CudaBackend, IteratesAsTheCpuDoes) {
    for (const Data& data : datasets()) {
        SCOPED_TRACE(data.name);
        const Points points(VectorView::of(data.points.data(), data.n, data.d));
        expect_equal_runs(cpu, *cuda, points, nullptr, Metric::l2, data.centroids, data.k);
        Floats weights = test::normal(data.n, 1, 5, 2, 0.5);
        for (float& weight : weights) {
            weight = std::abs(weight);
        }
        weights[0] = 0;
        expect_equal_runs(
                cpu, *cuda, points, weights.data(), Metric::inner_product, data.centroids, data.k);
    }
}

TEST_F(CudaBackend, SameBitsForAnyCuts) {
    test::expect_same_for_any_cuts(*cuda);
}

/// Whole runs: empty clusters, restarts, and every rule.
TEST_F(CudaBackend, RunsAsTheCpuDoes) {
    struct Run {
        const char* name;
        int64_t n, k, d, given;
        bool weighted;
        KMeansOptions options;
    };
    KMeansOptions plain;
    plain.niter = 8;
    KMeansOptions spherical = plain;
    spherical.spherical = true;
    spherical.metric = Metric::inner_product;
    KMeansOptions integers = plain;
    integers.int_centroids = true;
    KMeansOptions frozen = plain;
    frozen.frozen_centroids = true;
    frozen.spherical = true;
    KMeansOptions restarts = plain;
    restarts.nredo = 3;
    KMeansOptions never_early = plain;
    never_early.early_stop_threshold.reset();
    never_early.niter = cuda::kFirstReplayed + 8;
    KMeansOptions replayed = never_early;
    replayed.spherical = true;
    replayed.nredo = 2;
    for (const Run& run : {
                 Run{"plain", 6000, 50, 24, 0, false, plain},
                 Run{"weighted", 6000, 50, 24, 0, true, plain},
                 Run{"empty", 1100, 1000, 16, 0, false, plain},
                 Run{"empty_weighted", 1100, 900, 16, 0, true, spherical},
                 Run{"empty_integers", 1100, 900, 33, 5, false, integers},
                 Run{"empty_restarts", 1100, 900, 16, 400, true, restarts},
                 Run{"ruled_from_the_start", 6000, 50, 24, 50, false, spherical},
                 Run{"spherical", 6000, 50, 24, 0, false, spherical},
                 Run{"integers", 6000, 50, 24, 0, false, integers},
                 Run{"frozen", 3000, 40, 24, 7, false, frozen},
                 Run{"frozen_empty", 1000, 900, 8, 30, false, frozen},
                 Run{"restarts", 3000, 40, 24, 3, false, restarts},
                 Run{"replayed", 6000, 50, 24, 0, false, never_early},
                 Run{"replayed_empty", 1100, 900, 16, 0, true, never_early},
                 Run{"replayed_restarts", 6000, 50, 24, 0, false, replayed},
                 Run{"converges", 300, 4, 3, 0, false, never_early},
         }) {
        SCOPED_TRACE(run.name);
        Floats x = test::normal(run.n, run.d, 31, 0, 3);
        Floats weights = test::normal(run.n, 1, 32, 2, 0.5);
        for (float& weight : weights) {
            weight = std::max(0.0f, weight - 1);
        }
        const Floats initial(x.begin(), x.begin() + run.given * run.d);
        const std::vector<Problem> problem{
                {Points(VectorView::of(x.data(), run.n, run.d)),
                 run.weighted ? weights.data() : nullptr}};
        const auto expected = run_lloyd(cpu, problem, {initial}, run.k, run.options).front();
        const auto result = run_lloyd(*cuda, problem, {initial}, run.k, run.options).front();
        EXPECT_EQ(result.centroids, expected.centroids);
        ASSERT_EQ(result.iterations.size(), expected.iterations.size());
        for (size_t i = 0; i < result.iterations.size(); i++) {
            const IterationStats& mine = result.iterations[i];
            const IterationStats& theirs = expected.iterations[i];
            EXPECT_EQ(mine.objective, theirs.objective) << i;
            EXPECT_DOUBLE_EQ(mine.imbalance_factor, theirs.imbalance_factor) << i;
            EXPECT_EQ(mine.nsplit, theirs.nsplit) << i;
        }
    }
}

/// Copies of few points: most clusters come out empty, and each donor gives to many, those that it
/// has given to among them.
TEST_F(CudaBackend, SplitsManyTimesAsTheCpuDoes) {
    constexpr int64_t kPoints = 900;
    constexpr int64_t kClusters = 300;
    constexpr int64_t kColumns = 70;
    const Floats few = test::normal(7, kColumns, 41, 1, 3);
    Floats x(kPoints * kColumns);
    for (size_t i = 0; i < x.size(); i++) {
        const size_t row = i / kColumns * 3 % 7;
        x[i] = few[row * kColumns + i % kColumns];
    }
    const std::vector<Problem> problems(
            2, {Points(VectorView::of(x.data(), kPoints, kColumns)), nullptr});
    KMeansOptions options;
    options.niter = 4;
    options.early_stop_threshold.reset();
    for (const bool frozen : {false, true}) {
        options.frozen_centroids = frozen;
        const std::vector<Floats> initial(2, Floats(x.begin(), x.begin() + 5 * kColumns));
        const auto expected = run_lloyd(cpu, problems, initial, kClusters, options);
        const auto results = run_lloyd(*cuda, problems, initial, kClusters, options);
        for (size_t b = 0; b < results.size(); b++) {
            EXPECT_GT(expected[b].iterations[0].nsplit, 200);
            EXPECT_EQ(results[b].iterations[0].nsplit, expected[b].iterations[0].nsplit);
            EXPECT_EQ(results[b].centroids, expected[b].centroids);
        }
    }
}

/// Results of several blocks of page-locked memory, some asked for after fewer iterations.
TEST_F(CudaBackend, LargeResultsOfProblemsThatEndOneByOne) {
    constexpr int64_t kPoints = 3000;
    constexpr int64_t kClusters = 1200;
    constexpr int64_t kColumns = 700;
    const Floats x = test::mixture(3 * kPoints, kColumns, 40, 42, 0.5f);
    const Floats same(kPoints * kColumns, 1.5f); // ends after its second iteration
    std::vector<Problem> problems;
    for (const float* rows : {x.data(), same.data(), x.data() + kPoints * kColumns}) {
        problems.push_back({Points(VectorView::of(rows, kPoints, kColumns)), nullptr});
    }
    KMeansOptions options;
    options.niter = 3;
    const std::vector<Floats> none(3);
    const auto results = run_lloyd(*cuda, problems, none, kClusters, options);
    for (size_t b = 0; b < results.size(); b++) {
        const auto expected = run_lloyd(cpu, {problems[b]}, {Floats()}, kClusters, options);
        EXPECT_EQ(results[b].iterations.size(), expected[0].iterations.size());
        EXPECT_EQ(results[b].centroids, expected[0].centroids);
    }
}

/// Objectives whose sums cancel, of which float64 would keep few digits or none; restarts and early
/// stops are chosen by them. Batches of short rows have a kernel of their own.
TEST_F(CudaBackend, ObjectivesAreTheCpus) {
    constexpr int64_t kN = 3000;
    struct Rows {
        const char* name;
        Floats x;
    };
    for (const int64_t d : {4, 24, 200}) {
        Floats long_row = test::normal(kN, d, 5);
        std::fill_n(long_row.begin() + 7 * d, d, 3e9f);
        Floats ends = test::normal(kN, d, 6, 0, 1e37f);
        ends[11] = std::numeric_limits<float>::max();
        Floats one_column = test::normal(kN, d, 8);
        for (int64_t i = 0; i < kN; i++) {
            one_column[static_cast<size_t>(i * d)] *= 1e-20f;
        }
        for (const Rows& data :
             {Rows{"normal", test::normal(kN, d, 3)},
              Rows{"far out", test::normal(kN, d, 4, 1e3f, 1e-3f)},
              Rows{"one long row", long_row},
              Rows{"to float32's ends", ends},
              Rows{"one small column", one_column},
              Rows{"equal", Floats(static_cast<size_t>(kN * d), 0.1f)}}) {
            SCOPED_TRACE(testing::Message() << data.name << " d=" << d);
            KMeansOptions options;
            options.nredo = 3;
            options.min_points_per_centroid = 1;
            options.device = "cpu";
            const KMeansInput all{VectorView::of(data.x.data(), kN, d), {}, {}};
            const std::vector<KMeansInput> inputs{
                    {VectorView::of(data.x.data(), kN / 2, d), {}, {}},
                    {VectorView::of(data.x.data() + kN / 2 * d, kN / 2, d), {}, {}}};
            auto expected = batch_kmeans(inputs, 30, options);
            expected.push_back(kmeans(all, 30, options));
            options.device = "cuda";
            auto results = batch_kmeans(inputs, 30, options);
            results.push_back(kmeans(all, 30, options));
            for (size_t i = 0; i < expected.size(); i++) {
                EXPECT_EQ(results[i].centroids, expected[i].centroids);
                ASSERT_EQ(results[i].iterations.size(), expected[i].iterations.size());
                for (size_t at = 0; at < expected[i].iterations.size(); at++) {
                    EXPECT_EQ(
                            results[i].iterations[at].objective,
                            expected[i].iterations[at].objective)
                            << at;
                }
            }
        }
    }
}

TEST_F(CudaBackend, SelectionsAndTypes) {
    const int64_t n = 3000;
    const int64_t d = 48;
    std::vector<uint8_t> bytes(static_cast<size_t>(n * d));
    const Floats source = test::normal(n, d, 21, 120, 30);
    for (size_t i = 0; i < bytes.size(); i++) {
        bytes[i] = static_cast<uint8_t>(std::max(0.0f, std::min(255.0f, source[i])));
    }
    VectorView view;
    view.data = bytes.data();
    view.n = n;
    view.d = d;
    view.dtype = DType::u8;
    std::vector<int64_t> selection;
    for (int64_t i = 0; i < n; i += 3) {
        selection.push_back(n - 1 - i);
    }
    const Points points(view, selection);
    const Floats centroids = some_rows(source, n, 60, d);
    expect_equal_runs(cpu, *cuda, points, nullptr, Metric::l2, centroids, 60);
}

TEST_F(CudaBackend, IsListedFirst) {
    EXPECT_EQ(available_backends().front(), "cuda:0");
    EXPECT_EQ(available_backends().back(), "cpu");
}

} // namespace
} // namespace faiss_flash
