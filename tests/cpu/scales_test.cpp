/// Centroids of many scales, in places far apart and with equal rows, for every kernel: to the last
/// bit what float64 brute force finds.
#include <cpu/brute_force.h>
#include <support/data.h>

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>

namespace faiss_flash::cpu {
namespace {

using test::Floats;

const int64_t kColumns[] = {2, 3, 8, 16, 17, 64};

/// Rows multiplied by 10^-6 ... 10^6.
Floats of_mixed_scales(int64_t n, int64_t d, unsigned seed) {
    Floats x = test::normal(n, d, seed);
    std::mt19937 generator(seed + 1);
    std::uniform_real_distribution<double> exponent(-6, 6);
    for (size_t i = 0; i < x.size(); i += static_cast<size_t>(d)) {
        const auto scale = static_cast<float>(std::pow(10.0, exponent(generator)));
        std::for_each_n(x.begin() + static_cast<int64_t>(i), d, [=](float& a) { a *= scale; });
    }
    return x;
}

/// Between two rows each, off by float32's last bits.
Floats near_ties(const Floats& rows, size_t d, size_t n, unsigned seed, float noise = 2e-7f) {
    std::mt19937 generator(seed);
    std::normal_distribution<float> off(1, noise);
    Floats x;
    for (size_t i = 0; i < n; i++) {
        const size_t a = generator() % (rows.size() / d) * d;
        const size_t b = generator() % (rows.size() / d) * d;
        for (size_t j = 0; j < d; j++) {
            x.push_back((rows[a + j] / 2 + rows[b + j] / 2) * off(generator));
        }
    }
    return x;
}

/// Rows around places whose coordinates are `far` times -1, 0 or 1.
Floats in_places(int64_t n, int64_t d, int places, float far, float spread, unsigned seed) {
    Floats x = test::normal(n, d, seed, 0, spread);
    for (size_t i = 0; i < x.size(); i++) {
        const size_t place = i / static_cast<size_t>(d) * 7 % static_cast<size_t>(places);
        const size_t j = i % static_cast<size_t>(d);
        x[i] += far * static_cast<float>(static_cast<int>((place * 5 + j * (place + 1)) % 3) - 1);
    }
    return x;
}

struct Scales : EveryKernel {};

TEST_P(Scales, MixedScales) {
    for (const int64_t d : kColumns) {
        SCOPED_TRACE("d=" + std::to_string(d));
        const Floats centroids = of_mixed_scales(203, d, 1);
        expect_float64(of_mixed_scales(700, d, 2), centroids, d);
        expect_float64(centroids, centroids, d);
        expect_float64(near_ties(centroids, static_cast<size_t>(d), 700, 3), centroids, d);
    }
}

/// What the method is for: few of the rows are left to float64.
TEST_P(Scales, MixedScalesAreToldApartByFloat32) {
    const int64_t d = 64;
    const auto outcome = expect_float64(of_mixed_scales(2000, d, 4), of_mixed_scales(200, d, 5), d);
    if (!kernels.codes || metric == Metric::l2) { // float64 compares the products codes leave
        EXPECT_LT(outcome.decided, 300);
    }
}

TEST_P(Scales, PlacesFarApart) {
    for (const int64_t d : kColumns) {
        SCOPED_TRACE("d=" + std::to_string(d));
        for (const float spread : {1.0f, 1e-3f, 1e-6f}) { // from 4e3 on float32 is as coarse
            const Floats centroids = in_places(403, d, 5, 1e4f, spread, 6);
            const CentroidTable table = table_of(kernels, centroids, d, metric);
            EXPECT_EQ(table.cells().size() > 1, spread < 1e3f);
            expect_float64(in_places(500, d, 5, 1e4f, spread, 7), centroids, d);
            expect_float64(test::normal(200, d, 8, 0, 1e4f), centroids, d);
            expect_float64(near_ties(centroids, static_cast<size_t>(d), 500, 9), centroids, d);
        }
    }
}

/// Rows so far away that float64 can hardly tell centroids apart, between ordinary ones.
TEST_P(Scales, FarRowsBesideNearOnes) {
    for (const int64_t d : kColumns) {
        SCOPED_TRACE("d=" + std::to_string(d));
        for (const float far : {1e11f, 1e12f, 1e13f, 1e15f}) {
            Floats x = test::normal(2000, d, 14);
            for (size_t i = 0; i < x.size(); i++) {
                x[i] *= i / static_cast<size_t>(d) % 8 == 0 ? 1 : far;
            }
            expect_float64(x, test::normal(100, d, 15), d);
        }
    }
}

/// Places at a and -a, and rows that are 0 there: each distance exists twice, in two places, the
/// lower id now here, now there.
TEST_P(Scales, TiesBetweenPlaces) {
    for (const int64_t d : kColumns) {
        SCOPED_TRACE("d=" + std::to_string(d));
        const auto width = static_cast<size_t>(d);
        Floats centroids = test::normal(300, d, 10);
        for (size_t i = 0; i < 300; i += 2) {
            const size_t first = (i / 2 % 3 == 0 ? i + 1 : i) * width;
            const size_t second = (i / 2 % 3 == 0 ? i : i + 1) * width;
            std::copy_n(
                    centroids.begin() + static_cast<int64_t>(first),
                    d,
                    centroids.begin() + static_cast<int64_t>(second));
            centroids[first] = 1000 + centroids[first];
            centroids[second] = -centroids[first];
        }
        Floats x = test::normal(500, d, 11);
        for (size_t i = 0; i < x.size(); i += width) {
            x[i] = 0;
        }
        EXPECT_GT(table_of(kernels, centroids, d, metric).cells().size(), 1U);
        expect_float64(x, centroids, d);
    }
}

/// Of rows that equal each other, those with -0 for 0 included, only the first can win.
TEST_P(Scales, EqualRows) {
    for (const int64_t d : kColumns) {
        SCOPED_TRACE("d=" + std::to_string(d));
        Floats centroids = in_places(200, d, 3, 100, 1, 12);
        for (size_t i = 0; i < centroids.size(); i++) {
            centroids[i] = std::round(centroids[i]); // many zeros, many equal rows where d is small
        }
        Floats opposite = centroids;
        std::for_each(opposite.begin(), opposite.end(), [](float& a) { a = a == 0 ? -a : a; });
        centroids.insert(centroids.begin(), opposite.begin(), opposite.end());
        centroids.insert(centroids.end(), opposite.begin(), opposite.end());
        Floats x = in_places(500, d, 3, 100, 1, 13);
        for (size_t i = 0; i < x.size() / 2; i++) {
            x[i] = std::round(x[i]);
        }
        for (const int64_t id : expect_float64(x, centroids, d).ids) {
            EXPECT_LT(id, 200);
        }
        const Floats one(200 * static_cast<size_t>(d), 3.25f); // one centroid, 200 times
        expect_float64(x, one, d);
    }
}

/// Rows with coordinates so large that partial sums of products overflow, beside small ones.
TEST_P(Scales, SumsThatOverflowOnTheWay) {
    for (const int64_t d : kColumns) {
        for (const int64_t k : {1, 2, 15, 100, 600}) {
            SCOPED_TRACE("d=" + std::to_string(d) + " k=" + std::to_string(k));
            Floats x = test::normal(400, d, 14);
            std::mt19937 generator(15);
            for (size_t i = 0; i < x.size(); i++) {
                const size_t row = i / static_cast<size_t>(d);
                x[i] = row % 3 == 0
                               ? x[i] * std::ldexp(1.0f, static_cast<int>(generator() % 240) - 115)
                       : row % 3 == 1
                               ? (i % 2 ? 1 : -1) * std::ldexp(1.0f, static_cast<int>(row % 120))
                               : x[i];
            }
            expect_float64(x, test::normal(k, d, 16), d);
            expect_float64(x, test::normal(k, d, 16, 0, 1e-30f), d);
            expect_float64(x, test::normal(k, d, 16, 0, 1e30f), d);
        }
    }
}

/// So far away that float64's distances are coarser than float32's scores: pairs of centroids whose
/// order float32 knows are ties.
TEST_P(Scales, RowsFarBeyondTheCentroids) {
    for (const int64_t d : kColumns) {
        SCOPED_TRACE("d=" + std::to_string(d));
        const Floats half = test::normal(50, d, 26);
        Floats centroids = half;
        for (const float value : half) {
            centroids.push_back(value + (centroids.size() % 2 ? 0x1p-15f : -0x1p-16f));
        }
        for (const int exponent : {24, 28, 32, 36, 37, 38, 39}) {
            const Floats x = test::normal(300, d, 27, 0, std::ldexp(1.0f, exponent));
            expect_float64(x, centroids, d);
        }
    }
}

/// A column that is the same for all centroids and huge beside what tells them apart: errors of
/// float64 alone are more than float32 can hold.
TEST_P(Scales, OneColumnIsHugeAndTheSame) {
    for (const int64_t d : kColumns) {
        for (const float same : {1.0f, 1e20f, 3e38f}) {
            SCOPED_TRACE("d=" + std::to_string(d) + " " + std::to_string(same));
            Floats centroids = test::normal(37, d, 17, 0, 1e-30f);
            Floats x = test::normal(300, d, 18, 0, 1e-20f);
            for (size_t i = 0; i < centroids.size(); i += static_cast<size_t>(d)) {
                centroids[i] = same;
            }
            expect_float64(x, centroids, d);
            for (size_t i = 0; i < x.size(); i += 2 * static_cast<size_t>(d)) {
                x[i] = same;
            }
            expect_float64(x, centroids, d);
        }
    }
}

TEST_P(Scales, TheWholeRangeOfFloats) {
    for (const int64_t d : kColumns) {
        SCOPED_TRACE("d=" + std::to_string(d));
        const float most = std::numeric_limits<float>::max();
        const float least = std::numeric_limits<float>::denorm_min();
        Floats x = test::normal(300, d, 19);
        Floats centroids = test::normal(70, d, 20);
        std::mt19937 generator(21);
        for (Floats* floats : {&x, &centroids}) {
            for (float& value : *floats) {
                const float sign = value < 0 ? -1.0f : 1.0f;
                const auto kind = generator() % 5;
                value = kind == 0 ? sign * most : kind == 1 ? sign * least : kind == 2 ? 0 : value;
            }
        }
        expect_float64(x, centroids, d);
        expect_float64(x, Floats(50 * static_cast<size_t>(d), most), d);
        for (float& value : centroids) {
            value *= least; // differences of a few of float32's smallest steps
        }
        expect_float64(x, centroids, d);
        expect_float64(centroids, centroids, d);
    }
}

TEST_P(Scales, NotFiniteRowsAmongPlaces) {
    for (const int64_t d : kColumns) {
        SCOPED_TRACE("d=" + std::to_string(d));
        const Floats centroids = in_places(403, d, 5, 1e4f, 1, 22);
        Floats x = in_places(300, d, 5, 1e4f, 1, 23);
        const float kinds[] = {
                std::numeric_limits<float>::quiet_NaN(),
                std::numeric_limits<float>::infinity(),
                -std::numeric_limits<float>::infinity()};
        for (size_t i = 0; i < x.size(); i += 5 * static_cast<size_t>(d) + 1) {
            x[i] = kinds[i % 3];
        }
        expect_float64(x, centroids, d);
        expect_float64(x, Floats(centroids.begin(), centroids.begin() + 2 * d), d);
        expect_float64(x, Floats(centroids.begin(), centroids.begin() + d), d);
    }
}

/// The tile of points ends anywhere, and so do the groups of centroids.
TEST_P(Scales, ShapesOfPlaces) {
    for (const int64_t n : {1, 7, 9, 49, 257}) {
        for (const int64_t k : {130, 193, 1025}) {
            for (const int64_t d : {2, 5, 16, 20}) {
                SCOPED_TRACE("n, k, d " + testing::PrintToString(std::vector<int64_t>{n, k, d}));
                expect_float64(in_places(n, d, 3, 1e5f, 1, 24), in_places(k, d, 3, 1e5f, 1, 25), d);
            }
        }
    }
}

INSTANTIATE_TEST_SUITE_P(Kernels, Scales, EveryKernel::every(), EveryKernel::name);

} // namespace
} // namespace faiss_flash::cpu
