/// Every bad input: an InvalidArgument that names the argument and its value.
#include <faiss_flash/kmeans.h>

#include <support/data.h>

#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <limits>

namespace faiss_flash {
namespace {

struct Arguments : testing::Test {
    test::Floats x = test::normal(100, 8, 1);
    test::Floats weights = test::Floats(100, 1.0f);
    KMeansInput input;
    KMeansOptions options;
    int64_t k = 4;

    Arguments() { input.points = VectorView::of(x.data(), 100, 8); }

    void expect_rejected(const std::string& text) {
        try {
            kmeans(input, k, options);
            ADD_FAILURE() << "accepted, expected: " << text;
        } catch (const InvalidArgument& error) {
            EXPECT_NE(std::string(error.what()).find(text), std::string::npos) << error.what();
        }
    }
    void set_weights() { input.weights = VectorView::of(weights.data(), 100, 1); }
};

TEST_F(Arguments, GoodInputIsAccepted) {
    set_weights();
    EXPECT_EQ(kmeans(input, k, options).centroids.size(), 32u);
}

TEST_F(Arguments, FewerPointsThanCentroids) {
    k = 101;
    expect_rejected("n=100) should be at least as large as number of clusters (k=101");
}
TEST_F(Arguments, KZero) {
    k = 0;
    expect_rejected("k=0");
}
TEST_F(Arguments, KNegative) {
    k = -3;
    expect_rejected("k=-3");
}
TEST_F(Arguments, NullPoints) {
    input.points.data = nullptr;
    expect_rejected("points.data is null with points.n=100");
}
TEST_F(Arguments, DimensionZero) {
    input.points.d = 0;
    expect_rejected("points.d=0");
}
TEST_F(Arguments, NegativeRows) {
    input.points.n = -1;
    expect_rejected("points.n=-1");
}
TEST_F(Arguments, ShortStride) {
    input.points.row_stride = 31;
    expect_rejected("points.row_stride=31");
}
TEST_F(Arguments, DeviceMemory) {
    input.points.space = MemorySpace::device;
    expect_rejected("points.space");
}
TEST_F(Arguments, UnknownDevice) {
    options.device = "cuda:77";
    expect_rejected("device=cuda:77 is not one of auto, ");
}
TEST_F(Arguments, SizesThatOverflow) {
    input.points.n = std::numeric_limits<int64_t>::max() / 16;
    expect_rejected("overflow");
}
TEST_F(Arguments, CentroidsThatOverflow) {
    input.points.n = int64_t{1} << 31;
    input.points.d = int64_t{1} << 29;
    k = (int64_t{1} << 31) - 1;
    expect_rejected("overflow");
}
TEST_F(Arguments, KBeyondInt32) {
    input.points.n = int64_t{1} << 32;
    input.points.d = 1;
    k = int64_t{1} << 31;
    expect_rejected("k=2147483648");
}
TEST_F(Arguments, NaN) {
    x[8 * 57 + 3] = NAN;
    expect_rejected("points[57][3] is not finite: input contains NaN's or Inf's");
}
TEST_F(Arguments, InfinityInThePoints) {
    x[8 * 99 + 7] = -INFINITY;
    expect_rejected("points[99][7] is not finite: input contains NaN's or Inf's");
}
TEST_F(Arguments, ValuesThatHaveNoName) {
    options.metric = static_cast<Metric>(9);
    expect_rejected("metric=9");
    options.metric = Metric::l2;
    options.precision = static_cast<Precision>(7);
    expect_rejected("precision=7");
}
TEST(Threads, MoreThanCanBeStarted) {
    const int before = num_threads();
    for (const int threads : {-1, 0, 100000, std::numeric_limits<int>::max()}) {
        EXPECT_THROW(set_num_threads(threads), InvalidArgument) << threads;
    }
    EXPECT_EQ(num_threads(), before);
}
TEST(Estimates, SizesThatOverflow) {
    EXPECT_THROW(
            estimate(1000, 8, 3, KMeansOptions(), DType::f32, int64_t{1} << 62), InvalidArgument);
}
TEST_F(Arguments, NiterNegative) {
    options.niter = -1;
    expect_rejected("niter=-1");
}
TEST_F(Arguments, NredoZero) {
    options.nredo = 0;
    expect_rejected("nredo=0");
}
TEST_F(Arguments, NredoNegative) {
    options.nredo = -7;
    expect_rejected("nredo=-7");
}
TEST_F(Arguments, MaxPointsZero) {
    options.max_points_per_centroid = 0;
    expect_rejected("max_points_per_centroid=0");
}
TEST_F(Arguments, WeightsOfTheWrongLength) {
    set_weights();
    input.weights.n = 99;
    expect_rejected("weights.n=99 does not match points.n=100");
}
TEST_F(Arguments, WeightsOfTheWrongShape) {
    set_weights();
    input.weights.d = 2;
    input.weights.n = 50;
    expect_rejected("weights must be [n x 1] float32");
}
TEST_F(Arguments, NegativeWeight) {
    weights[42] = -0.5f;
    set_weights();
    expect_rejected("weights[42]=-0.5");
}
TEST_F(Arguments, NaNWeight) {
    weights[7] = NAN;
    set_weights();
    expect_rejected("weights[7]=nan");
}
TEST_F(Arguments, AllWeightsZero) {
    weights.assign(100, 0.0f);
    set_weights();
    expect_rejected("weights are all 0");
}
TEST_F(Arguments, InitialCentroidsOfAnotherDimension) {
    input.initial_centroids = VectorView::of(x.data(), 2, 7);
    expect_rejected("initial_centroids.d=7 does not match points.d=8");
}
TEST_F(Arguments, InitialCentroidsWithNaN) {
    test::Floats initial(16, 0.0f);
    initial[9] = NAN;
    input.initial_centroids = VectorView::of(initial.data(), 2, 8);
    expect_rejected("initial_centroids[1][1]");
}

TEST_F(Arguments, SurplusInitialCentroidsAreDropped) {
    input.initial_centroids = VectorView::of(x.data(), 10, 8);
    options.frozen_centroids = true;
    const KMeansResult result = kmeans(input, k, options);
    EXPECT_TRUE(std::equal(result.centroids.begin(), result.centroids.end(), x.begin()));
    EXPECT_EQ(result.centroids.size(), 32u);
}

struct AssignArguments : testing::Test {
    test::Floats x = test::normal(10, 4, 1);
    std::vector<int64_t> ids = std::vector<int64_t>(10, 77);
    VectorView points = VectorView::of(x.data(), 10, 4);
    VectorView centroids = VectorView::of(x.data(), 3, 4);

    void expect_rejected(const std::string& text, int64_t* out) {
        try {
            assign(points, centroids, Metric::l2, out, nullptr);
            ADD_FAILURE() << "accepted, expected: " << text;
        } catch (const InvalidArgument& error) {
            EXPECT_NE(std::string(error.what()).find(text), std::string::npos) << error.what();
        }
    }
};

TEST_F(AssignArguments, Dimension) {
    centroids.d = 3;
    expect_rejected("centroids.d=3 does not match points.d=4", ids.data());
    EXPECT_EQ(ids[0], 77);
}
TEST_F(AssignArguments, NoCentroids) {
    centroids.n = 0;
    expect_rejected("centroids.n=0", ids.data());
}
TEST_F(AssignArguments, NullIds) {
    expect_rejected("ids is null with points.n=10", nullptr);
}
TEST_F(AssignArguments, NaNCentroid) {
    x[5] = NAN;
    points = VectorView::of(x.data() + 20, 2, 4);
    expect_rejected("centroids[1][1]", ids.data());
}
TEST_F(AssignArguments, NaNPoint) {
    x[4 * 9 + 2] = INFINITY; // the last one: all others could have been answered
    expect_rejected("points[9][2]", ids.data());
    EXPECT_EQ(ids, std::vector<int64_t>(10, 77)) << "written before the exception";
}
TEST_F(AssignArguments, NoPointsIsFine) {
    points = VectorView::of(nullptr, 0, 4);
    EXPECT_NO_THROW(assign(points, centroids, Metric::l2, nullptr, nullptr));
}

} // namespace
} // namespace faiss_flash
