/// Points with one coordinate against float64 brute force.
#include <cpu/brute_force.h>
#include <support/data.h>

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <numeric>
#include <random>

namespace faiss_flash::cpu {
namespace {

using test::Floats;

constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();
constexpr float kMax = std::numeric_limits<float>::max();
constexpr float kTiny = std::numeric_limits<float>::denorm_min();

struct Line : testing::TestWithParam<Metric> {
    Outcome run_line(const Points& points, const Floats& centroids) const {
        const CentroidTable table(
                centroids.data(), static_cast<int64_t>(centroids.size()), 1, GetParam());
        EXPECT_TRUE(table.line());
        return run(table, points);
    }
    Outcome expect_float64(const Floats& x, const Floats& centroids) const {
        const auto n = static_cast<int64_t>(x.size());
        const auto outcome = run_line(Points(VectorView::of(x.data(), n, 1)), centroids);
        expect_same(outcome, brute_force(GetParam(), x, centroids, 1));
        return outcome;
    }
};

TEST_P(Line, Shapes) {
    for (const int64_t n : {1, 7, 8, 9, 255, 257, 1009}) {
        for (const int64_t k : {1, 2, 3, 4, 5, 7, 8, 9, 31, 32, 33, 1000}) {
            SCOPED_TRACE("n=" + std::to_string(n) + " k=" + std::to_string(k));
            expect_float64(test::normal(n, 1, 1), test::normal(k, 1, 2));
        }
    }
}

/// On a centroid, halfway between two, and one float below and above.
TEST_P(Line, OnAndBetweenCentroids) {
    const Floats centroids = test::normal(100, 1, 3);
    Floats x;
    for (size_t a = 0; a < centroids.size(); a++) {
        for (const float at : {centroids[a], (centroids[a] + centroids[(a * 7 + 1) % 100]) / 2}) {
            x.insert(x.end(), {at, std::nextafter(at, -kInf), std::nextafter(at, kInf)});
        }
    }
    expect_float64(x, centroids);
}

/// Small integers in any order: every second point lies exactly between two.
TEST_P(Line, TiesGoToTheLowestId) {
    Floats centroids(50);
    std::iota(centroids.begin(), centroids.end(), -25.0f);
    std::shuffle(centroids.begin(), centroids.end(), std::mt19937(4));
    const Floats some(centroids.begin(), centroids.begin() + 20); // duplicates
    centroids.insert(centroids.end(), some.begin(), some.end());
    Floats x;
    for (float at = -30; at < 30; at += 0.5f) {
        x.push_back(at);
    }
    for (const int64_t id : expect_float64(x, centroids).ids) {
        EXPECT_LT(id, 50);
    }
}

/// From far away float64 sees all these distances as equal.
TEST_P(Line, DistancesThatAreEqualOnceRounded) {
    Floats centroids(40);
    std::iota(centroids.begin(), centroids.end(), 0.0f);
    std::shuffle(centroids.begin(), centroids.end(), std::mt19937(5));
    const Floats x{1e20f, -1e20f, 1e17f, -1e17f, 3e16f, 1e16f, -1e16f, 1e15f, kMax, -kMax};
    const auto outcome = expect_float64(x, centroids);
    if (GetParam() == Metric::l2) {
        EXPECT_EQ(outcome.ids[0], 0);
        EXPECT_EQ(outcome.ids[1], 0);
    }
    // Both neighbours, and one beyond them, at the same rounded distance.
    expect_float64({1, 1e17f}, {1e17f, kTiny, 2 * kTiny, -kTiny, 0, 2 - 0x1p-23f, 2e17f});
}

TEST_P(Line, SignedZeros) {
    for (const Floats& centroids :
         {Floats{-0.0f},
          Floats{0.0f, -0.0f},
          Floats{-0.0f, 0.0f},
          Floats{1, -0.0f, 0.0f, -1},
          Floats{-1, -0.0f},
          Floats{0.0f, 1}}) {
        expect_float64({0.0f, -0.0f, 1, -1, 0.5f, -0.5f, kTiny, -kTiny}, centroids);
    }
}

TEST_P(Line, SubnormalAndHugeValues) {
    const Floats values{
            kTiny,
            -kTiny,
            3 * kTiny,
            1e-40f,
            -1e-40f,
            1e-38f,
            1,
            1e30f,
            -1e30f,
            kMax,
            -kMax,
            kMax / 2,
            std::nextafter(kMax, 0.0f),
            0};
    expect_float64(values, values);
    for (const float value : values) {
        expect_float64(values, {value});
        expect_float64(values, {value, -value});
        expect_float64(values, {-value, value, kTiny});
    }
    Floats x;
    Floats centroids;
    std::mt19937 generator(6);
    while (x.size() < 4000) { // every pattern of bits
        const auto bits = static_cast<uint32_t>(generator());
        float value;
        std::memcpy(&value, &bits, sizeof value);
        x.push_back(value);
        if (std::isfinite(value) && centroids.size() < 300) {
            centroids.push_back(value);
        }
    }
    expect_float64(x, centroids);
}

TEST_P(Line, NotFiniteRowsGetNoCentroid) {
    const Floats x{1, kNaN, 2, kInf, -kInf, 3, -kNaN, 0, kNaN};
    for (const Floats& centroids : {Floats{1.5f}, Floats{0, 0}, Floats{-1, 2, kMax, -kMax}}) {
        const auto outcome = expect_float64(x, centroids);
        EXPECT_EQ(outcome.ids[1], -1);
        EXPECT_EQ(outcome.ids[3], -1);
        EXPECT_EQ(outcome.ids[4], -1);
    }
}

TEST_P(Line, StridesAndTypes) {
    Floats spaced(300 * 5, kNaN);
    std::vector<uint8_t> bytes(300 * 3, 0xee);
    Floats x;
    Floats whole;
    for (size_t i = 0; i < 300; i++) {
        x.push_back(static_cast<float>(i * 37 % 301) / 8);
        whole.push_back(static_cast<float>(i * 37 % 256));
        spaced[i * 5] = x[i];
        bytes[i * 3] = static_cast<uint8_t>(i * 37 % 256);
    }
    const Floats centroids{3, 100, 9, 9, 12.25f, 255, 0, 77};
    VectorView view = VectorView::of(spaced.data(), 300, 1);
    view.row_stride = 5 * sizeof(float);
    expect_same(run_line(Points(view), centroids), brute_force(GetParam(), x, centroids, 1));
    view.data = bytes.data();
    view.dtype = DType::u8;
    view.row_stride = 3;
    expect_same(run_line(Points(view), centroids), brute_force(GetParam(), whole, centroids, 1));
}

INSTANTIATE_TEST_SUITE_P(
        Metrics, Line, testing::Values(Metric::l2, Metric::inner_product), [](const auto& tested) {
            return std::string(tested.param == Metric::l2 ? "l2" : "inner_product");
        });

} // namespace
} // namespace faiss_flash::cpu
