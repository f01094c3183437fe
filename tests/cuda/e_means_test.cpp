/// Algorithm::e_means on the device: the bits of the CPU backend, from rows of any type and place.
#include <faiss_flash/cuda/device_info.h>
#include <faiss_flash/kmeans.h>

#include <cuda/device_data.h>
#include <support/data.h>
#include <support/shards.h>

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

namespace faiss_flash {
namespace {

using test::Floats;

struct Averaged {
    std::string name;
    int64_t n, d, k;
    DType dtype;
    KMeansOptions options;
    bool weighted = false;
    float spread = 0.4f; ///< of the mixture's parts
};

std::vector<Averaged> runs() {
    KMeansOptions plain;
    plain.algorithm = Algorithm::e_means;
    plain.operating_point = OperatingPoint::quality;
    plain.niter = 3;
    plain.max_points_per_centroid = -1;
    KMeansOptions large = plain;
    large.operating_point = OperatingPoint::throughput;
    KMeansOptions whole = plain; // half of all clusters are revived at a time
    whole.batch_size = 300;
    whole.alpha0 = 1;
    KMeansOptions products = plain;
    products.metric = Metric::inner_product;
    KMeansOptions spheres = products;
    spheres.spherical = true;
    KMeansOptions integers = plain;
    integers.int_centroids = true;
    KMeansOptions sample = plain;
    sample.max_points_per_centroid = 60;
    KMeansOptions restarts = plain;
    restarts.nredo = 3;
    KMeansOptions ragged = plain;
    ragged.batch_size = 33000;
    ragged.alpha0 = 0.4;
    return {{"quality", 20000, 32, 100, DType::f32, plain},
            {"throughput", 60000, 48, 300, DType::f32, large},
            {"long_sort", 150000, 20, 64, DType::f32, ragged},
            {"long_sort_weighted", 100001, 40, 64, DType::f32, ragged, true},
            {"many_clusters", 40000, 16, 9000, DType::f32, large},
            {"revivals", 5000, 12, 900, DType::f32, whole},
            {"long_rows", 3000, 700, 50, DType::f32, plain},
            {"odd_columns", 7001, 37, 65, DType::f32, plain},
            {"one_column", 9000, 1, 30, DType::f32, plain},
            {"one_cluster", 3000, 9, 1, DType::f32, plain},
            {"halves", 20000, 64, 128, DType::f16, plain},
            {"brain_floats", 20000, 40, 128, DType::bf16, large},
            {"bytes", 20000, 24, 77, DType::u8, plain},
            {"signed_bytes", 20000, 128, 77, DType::i8, large},
            {"weights", 12000, 30, 70, DType::f32, plain, true},
            {"products", 12000, 30, 70, DType::f32, products},
            {"spheres", 12000, 65, 70, DType::f32, spheres},
            {"spheres_weighted", 12000, 65, 70, DType::f32, spheres, true},
            {"integers", 12000, 33, 70, DType::u8, integers},
            {"sample", 30000, 33, 70, DType::f32, sample},
            {"restarts", 8000, 33, 40, DType::f32, restarts},
            {"duplicates", 20000, 8, 600, DType::f32, plain, false, 0}};
}

class EmeansOnDevice : public testing::TestWithParam<Averaged> {};

TEST_P(EmeansOnDevice, HasTheBitsOfTheHost) {
    if (cuda::device_count() == 0) {
        GTEST_SKIP() << "no CUDA device";
    }
    const Averaged& run = GetParam();
    const Floats x = test::mixture(run.n, run.d, 500, 3, run.spread);
    const std::vector<uint8_t> rows = test::rows_of(x, run.dtype);
    const test::DevicePointer on_device = test::to_device(rows.data(), rows.size());
    Floats weights = test::normal(run.n, 1, 4, 2);
    std::transform(weights.begin(), weights.end(), weights.begin(), [](float weight) {
        return std::max(0.0f, weight);
    });
    KMeansInput input;
    input.points = VectorView::of(nullptr, run.n, run.d);
    input.points.dtype = run.dtype;
    if (run.weighted) {
        input.weights = VectorView::of(weights.data(), run.n, 1);
    }
    KMeansOptions options = run.options;
    options.return_assignment = true;
    options.device = "cpu";
    input.points.data = rows.data();
    const KMeansResult expected = kmeans(input, run.k, options);
    options.device = "cuda";
    for (const bool of_device : {false, true}) {
        SCOPED_TRACE(of_device ? "points of the device" : "points of the host");
        input.points.data = of_device ? on_device.get() : rows.data();
        input.points.space = of_device ? MemorySpace::device : MemorySpace::host;
        const KMeansResult found = kmeans(input, run.k, options);
        EXPECT_EQ(found.centroids, expected.centroids);
        EXPECT_EQ(found.assignment, expected.assignment);
        EXPECT_EQ(found.distances, expected.distances);
        ASSERT_EQ(found.iterations.size(), expected.iterations.size());
        for (size_t i = 0; i < found.iterations.size(); i++) {
            const IterationStats& mine = found.iterations[i];
            EXPECT_EQ(mine.objective, expected.iterations[i].objective) << i;
            EXPECT_EQ(mine.imbalance_factor, expected.iterations[i].imbalance_factor) << i;
            EXPECT_EQ(mine.nsplit, expected.iterations[i].nsplit) << i;
        }
    }
}

INSTANTIATE_TEST_SUITE_P(Runs, EmeansOnDevice, testing::ValuesIn(runs()), [](const auto& tested) {
    return tested.param.name;
});

/// A state of one backend is the other's.
TEST(EmeansOfBoth, GoOnWhereTheOtherStopped) {
    if (cuda::device_count() == 0) {
        GTEST_SKIP() << "no CUDA device";
    }
    const Floats x = test::mixture(20000, 24, 300, 8, 0.4f);
    KMeansInput input;
    input.points = VectorView::of(x.data(), 20000, 24);
    KMeansOptions options;
    options.algorithm = Algorithm::e_means;
    options.niter = 4;
    options.max_points_per_centroid = -1;
    options.device = "cuda";
    const KMeansResult expected = kmeans(input, 90, options);
    for (const bool first_on_device : {true, false}) {
        options.checkpoint = testing::TempDir() + "e_means_state";
        options.resume = false;
        options.device = first_on_device ? "cuda" : "cpu";
        options.callback = [](const IterationStats&, double) { return false; };
        kmeans(input, 90, options);
        options.callback = nullptr;
        options.resume = true;
        options.device = first_on_device ? "cpu" : "cuda";
        const KMeansResult found = kmeans(input, 90, options);
        EXPECT_EQ(found.centroids, expected.centroids);
        EXPECT_EQ(found.iterations.size(), expected.iterations.size());
    }
}

/// Precision::fast has no bits but a device's own.
TEST(EmeansOfBoth, FastIsReproducibleAndAsGood) {
    if (cuda::device_count() == 0) {
        GTEST_SKIP() << "no CUDA device";
    }
    const std::vector<uint8_t> rows =
            test::rows_of(test::mixture(50000, 64, 300, 8, 0.4f), DType::f16);
    KMeansInput input;
    input.points = VectorView::of(nullptr, 50000, 64);
    input.points.data = rows.data();
    input.points.dtype = DType::f16;
    KMeansOptions options;
    options.algorithm = Algorithm::e_means;
    options.niter = 3;
    options.max_points_per_centroid = -1;
    options.device = "cuda";
    const double exact = kmeans(input, 200, options).iterations.back().objective;
    options.precision = Precision::fast;
    const KMeansResult fast = kmeans(input, 200, options);
    EXPECT_EQ(kmeans(input, 200, options).centroids, fast.centroids);
    EXPECT_NEAR(fast.iterations.back().objective / exact, 1, 0.01);
}

} // namespace
} // namespace faiss_flash
