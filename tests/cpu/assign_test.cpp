/// assign() against float64 brute force, for every score kernel this machine can run.
#include <cpu/brute_force.h>
#include <support/data.h>
#include <support/oracle.h>

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>

namespace faiss_flash::cpu {
namespace {

using test::Floats;

struct Assign : EveryKernel {
    Outcome expect_exact(
            const Floats& x, const Floats& centroids, int64_t d, bool ties_are_exact = true) {
        const auto n = static_cast<int64_t>(x.size()) / d;
        const auto outcome =
                run(kernels, Points(VectorView::of(x.data(), n, d)), centroids, metric);
        EXPECT_EQ(test::count_wrong(metric, x, centroids, d, outcome.ids, ties_are_exact), 0);
        for (size_t i = 0; i < outcome.ids.size(); i++) {
            const float* row = x.data() + static_cast<int64_t>(i) * d;
            const float* centroid = centroids.data() + outcome.ids[i] * d;
            const auto value = static_cast<double>(test::exact_value(metric, row, centroid, d));
            const auto size = static_cast<double>(
                    std::sqrt(test::exact_value(Metric::inner_product, row, row, d)) *
                    std::sqrt(test::exact_value(Metric::inner_product, centroid, centroid, d)));
            EXPECT_NEAR(outcome.values[i], value, 1e-12 * (std::abs(value) + size));
        }
        return outcome;
    }
};

TEST_P(Assign, Shapes) {
    for (const int64_t n : {1, 2, 7, 8, 9, 127, 257, 1009}) {
        for (const int64_t k : {1, 2, 15, 16, 17, 47, 48, 49, 97, 513}) {
            const int64_t d = 1 + (n * 7 + k * 3) % 70;
            SCOPED_TRACE("n=" + std::to_string(n) + " k=" + std::to_string(k));
            expect_exact(test::normal(n, d, 1), test::normal(k, d, 2), d);
        }
    }
}

TEST_P(Assign, Dimensions) {
    for (const int64_t d : {1, 2, 3, 8, 15, 16, 17, 100, 128, 129, 768, 1021, 4096}) {
        SCOPED_TRACE("d=" + std::to_string(d));
        expect_exact(test::normal(70, d, 1), test::normal(53, d, 2), d);
    }
}

/// As a product quantizer's, with near-ties and columns of an odd number.
TEST_P(Assign, ShortRows) {
    for (const int64_t d : {1, 2, 3, 4, 5, 7, 8, 9, 12, 16}) {
        SCOPED_TRACE("d=" + std::to_string(d));
        const Floats centroids = test::normal(256, d, 2);
        expect_exact(test::normal(5000, d, 1), centroids, d);
        expect_exact(test::descriptors(2000, d, 3), test::descriptors(100, d, 4), d);
        Floats x = test::normal(1000, d, 5, 0, 1e-7f);
        for (size_t i = 0; i < x.size(); i++) {
            const size_t j = i % static_cast<size_t>(d);
            const size_t a = i / static_cast<size_t>(d) % 256;
            const size_t b = (a * 5 + 1) % 256;
            x[i] += (centroids[a * static_cast<size_t>(d) + j] +
                     centroids[b * static_cast<size_t>(d) + j]) /
                    2;
        }
        expect_exact(x, centroids, d);
    }
}

TEST_P(Assign, Descriptors) {
    expect_exact(test::descriptors(4000, 128, 1), test::descriptors(300, 128, 2), 128);
}

/// Plain float32 distances mis-assign most rows here: x^2 + c^2 - 2 x c cancels.
TEST_P(Assign, DescriptorsShiftedByAThousand) {
    expect_exact(test::descriptors(4000, 128, 1, 1000), test::descriptors(300, 128, 2, 1000), 128);
}

TEST_P(Assign, TightClusterFarAway) {
    expect_exact(test::normal(3000, 32, 1, 1e4f, 1e-2f), test::normal(200, 32, 2, 1e4f, 1e-2f), 32);
}

TEST_P(Assign, DuplicatedCentroidsGoToTheLowestId) {
    const Floats half = test::descriptors(100, 16, 2);
    Floats centroids = half;
    centroids.insert(centroids.end(), half.begin(), half.end());
    centroids.insert(centroids.end(), half.begin(), half.end());
    const auto outcome = expect_exact(test::descriptors(3000, 16, 1), centroids, 16);
    for (const int64_t id : outcome.ids) {
        EXPECT_LT(id, 100);
    }
}

/// Small integers have many exact ties between different centroids.
TEST_P(Assign, TiesBetweenDifferentCentroids) {
    Floats x = test::descriptors(3000, 4, 1);
    Floats centroids = test::descriptors(60, 4, 2);
    for (Floats* floats : {&x, &centroids}) {
        for (float& value : *floats) {
            value = std::fmod(value, 3.0f);
        }
    }
    EXPECT_GT(expect_exact(x, centroids, 4).decided, 1000);
}

/// Points halfway between two centroids, off by less than float32 scores can tell.
TEST_P(Assign, NearTies) {
    const int64_t d = 64;
    const Floats centroids = test::normal(40, d, 3);
    Floats x = test::normal(2000, d, 4, 0, 1e-7f);
    for (size_t i = 0; i < 2000; i++) {
        const size_t a = i % 40;
        const size_t b = (i * 7 + 1) % 40;
        for (size_t j = 0; j < size_t(d); j++) {
            x[i * size_t(d) + j] +=
                    (centroids[a * size_t(d) + j] + centroids[b * size_t(d) + j]) / 2;
        }
    }
    const auto outcome = expect_exact(x, centroids, d);
    if (metric == Metric::l2) {
        EXPECT_GT(outcome.decided, 500);
    }
}

/// More near-equal centroids than a candidate list holds: permutations of one vector have the same
/// length, and nearly the same product with a nearly constant point.
TEST_P(Assign, MoreCandidatesThanAListHolds) {
    const int64_t d = 24;
    Floats one = test::normal(1, d, 5);
    std::mt19937 generator(6);
    Floats centroids;
    for (int c = 0; c < 200; c++) {
        std::shuffle(one.begin(), one.end(), generator);
        centroids.insert(centroids.end(), one.begin(), one.end());
    }
    const Floats x = test::normal(500, d, 7, 3, 1e-7f);
    EXPECT_GT(expect_exact(x, centroids, d, false).decided, 300);
}

TEST_P(Assign, ExtremeRanges) {
    for (const float scale : {1e-42f, 1e-30f, 1e-15f, 1e15f, 1e30f, 8e37f}) {
        SCOPED_TRACE(scale);
        Floats x = test::normal(500, 20, 8);
        Floats centroids = test::normal(70, 20, 9);
        for (Floats* floats : {&x, &centroids}) {
            for (float& value : *floats) {
                value *= scale;
            }
        }
        expect_exact(x, centroids, 20);
    }
}

TEST_P(Assign, PointsFarBeyondTheCentroids) {
    Floats x = test::normal(300, 20, 8);
    for (size_t i = 0; i < x.size(); i++) {
        x[i] *= i % 2 ? 1e38f : 1e-38f;
    }
    expect_exact(x, test::normal(30, 20, 9, 0, 1e-3f), 20);
    expect_exact(test::normal(300, 20, 8, 0, 1e-30f), test::normal(30, 20, 9, 0, 1e30f), 20);
}

TEST_P(Assign, OneDimensionDominates) {
    Floats x = test::normal(1000, 16, 10);
    Floats centroids = test::normal(90, 16, 11);
    for (size_t i = 0; i < x.size(); i += 16) {
        x[i] *= 1e6f;
    }
    for (size_t i = 0; i < centroids.size(); i += 16) {
        centroids[i] *= 1e6f;
    }
    expect_exact(x, centroids, 16);
}

TEST_P(Assign, NotFiniteRowsGetNoCentroid) {
    Floats x = test::normal(40, 8, 12);
    x[8 * 3] = std::numeric_limits<float>::quiet_NaN();
    x[8 * 17 + 5] = std::numeric_limits<float>::infinity();
    const Floats centroids = test::normal(20, 8, 13);
    const auto outcome = run(kernels, Points(VectorView::of(x.data(), 40, 8)), centroids, metric);
    for (size_t i = 0; i < 40; i++) {
        if (i == 3 || i == 17) {
            EXPECT_EQ(outcome.ids[i], -1);
            EXPECT_TRUE(std::isnan(outcome.values[i]));
        } else {
            EXPECT_EQ(outcome.ids[i], test::nearest(metric, &x[i * 8], centroids.data(), 20, 8).id);
        }
    }
}

TEST_P(Assign, StridedAndNarrowTypes) {
    const Floats x = test::descriptors(500, 10, 14);
    std::vector<uint8_t> bytes(500 * 13, 0xee);
    for (size_t i = 0; i < 500; i++) {
        for (size_t j = 0; j < 10; j++) {
            bytes[i * 13 + j] = static_cast<uint8_t>(x[i * 10 + j]);
        }
    }
    VectorView view;
    view.data = bytes.data();
    view.n = 500;
    view.d = 10;
    view.dtype = DType::u8;
    view.row_stride = 13;
    const Floats centroids = test::descriptors(33, 10, 15);
    const auto outcome = run(kernels, Points(view), centroids, metric);
    EXPECT_EQ(test::count_wrong(metric, x, centroids, 10, outcome.ids), 0);
}

INSTANTIATE_TEST_SUITE_P(Kernels, Assign, EveryKernel::every(), EveryKernel::name);

} // namespace
} // namespace faiss_flash::cpu
