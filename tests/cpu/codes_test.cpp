/// Scores in 8 bits: what does not show in the results of assign_test.cpp and scales_test.cpp,
/// which run these kernels too.
#include <cpu/brute_force.h>
#include <support/data.h>

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>

namespace faiss_flash::cpu {
namespace {

using test::Floats;

struct Codes : EveryKernel {};
GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(Codes);

/// Products of codes as they are stored with products of the numbers: within what the residuals
/// say.
TEST_P(Codes, ResidualsAreThoseOfTheCodes) {
    const CodeKernel& kernel = *kernels.codes;
    for (const int64_t d : {1, 7, 16, 17, 100, 1000}) {
        for (const float spread : {1e-30f, 1.0f, 1e6f}) {
            SCOPED_TRACE("d=" + std::to_string(d) + " spread " + std::to_string(spread));
            const Floats x = test::normal(1, d, 1, 0, spread);
            std::vector<uint8_t> codes(x.size() + CodeKernel::kMostLanes);
            const AlignedFloats centred(d + CodeKernel::kMostLanes);
            const Floats origin = test::normal(1, d, 2, 0, spread);
            const Extent extent = kernel.center(x.data(), origin.data(), 2, d, centred.get());
            const Coded coded = kernel.encode(centred.get(), extent.largest, d, codes.data());
            long double squares = 0;
            for (size_t j = 0; j < x.size(); j++) {
                const auto shifted = static_cast<uint8_t>(codes[j] - kernel.zero);
                const int code = static_cast<int8_t>(shifted);
                EXPECT_LE(std::abs(code), kernel.levels);
                EXPECT_EQ(centred.get()[j], (x[j] - origin[j]) * 2);
                EXPECT_LE(std::abs(centred.get()[j]), extent.largest);
                const long double rest =
                        centred.get()[j] - static_cast<long double>(coded.scale) * code;
                squares += rest * rest;
            }
            const long double residual = std::sqrt(squares);
            EXPECT_GE(coded.residual, residual);
            EXPECT_LE(coded.residual, residual * 1.01L + 1e-4L * spread + 0x1p-50L);
        }
    }
}

/// The best centroid, any other, none, one that is only a copy: all the same.
TEST_P(Codes, GuessesChangeNothing) {
    for (const int64_t d : {5, 64, 130}) {
        SCOPED_TRACE("d=" + std::to_string(d));
        const int64_t n = 700;
        const Floats x = test::normal(n, d, 1);
        Floats centroids = test::normal(200, d, 2);
        std::copy_n(centroids.begin(), 50 * d, centroids.begin() + 150 * d);
        const Points points(VectorView::of(x.data(), n, d));
        for (const Kernels& each : {kernels, Kernels{kernels.scores, nullptr, nullptr}}) {
            const CentroidTable table = table_of(each, centroids, d, metric);
            const Outcome expected = brute_force(metric, x, centroids, d);
            std::vector<int32_t> guesses(static_cast<size_t>(n));
            for (const int step : {0, 1, 7, 60}) {
                for (size_t i = 0; i < guesses.size(); i++) {
                    guesses[i] = static_cast<int32_t>((expected.ids[i] + step) % 200);
                }
                expect_same(run(table, points, guesses), expected);
            }
            std::fill(guesses.begin(), guesses.end(), -1);
            expect_same(run(table, points, guesses), expected);
        }
    }
}

/// Where the best centroid is known from the start, no worse ones are candidates for a while.
TEST_P(Codes, GoodGuessesLeaveFewerCandidates) {
    const int64_t n = 256;
    const int64_t d = 64;
    const Floats x = test::normal(n, d, 1);
    const Floats centroids = test::normal(300, d, 2);
    const Points points(VectorView::of(x.data(), n, d));
    const CentroidTable table = table_of(kernels, centroids, d, metric);
    const Outcome best = brute_force(metric, x, centroids, d);
    const auto candidates = [&](const std::vector<int32_t>& guesses) {
        BlockAssigner assigner(points, table);
        std::vector<int32_t> ids(static_cast<size_t>(n));
        std::vector<double> values(ids.size());
        const int64_t rows = BlockAssigner::rows_per_block(n, table);
        for (int64_t first = 0; first < n; first += rows) {
            const auto* guess = guesses.data() + first;
            const int64_t count = std::min(rows, n - first);
            assigner.run(first, count, guess, ids.data() + first, values.data() + first);
        }
        return assigner.candidates();
    };
    const std::vector<int32_t> none(static_cast<size_t>(n), -1);
    const auto guessed = candidates({best.ids.begin(), best.ids.end()});
    EXPECT_GE(guessed, n);
    EXPECT_LT(guessed, candidates(none));
}

/// Centroids move, the points' codes stay: also where centroids are far from where they were, of
/// another scale, so long that scores would leave float32's range, or where rows have none.
TEST_P(Codes, PointsKeepTheirCodes) {
    for (const int64_t d : {5, 64, 130}) {
        const int64_t n = 700;
        Floats x = test::normal(n, d, 1);
        x[3] = std::numeric_limits<float>::quiet_NaN();
        std::fill_n(x.begin() + 20 * d, d, 1e30f);
        const Points points(VectorView::of(x.data(), n, d));
        const Floats first = test::normal(150, d, 2);
        const CodedPoints coded(points, table_of(kernels, first, d, metric).cells().front());
        for (const float scale : {1.0f, 1e-3f, 1e3f, 1e15f}) {
            for (const float shift : {0.0f, 0.1f, 100.0f}) {
                SCOPED_TRACE(
                        "d=" + std::to_string(d) + " scale " + std::to_string(scale) + " shift " +
                        std::to_string(shift));
                const Floats centroids = test::normal(150, d, 3, shift, scale);
                const CentroidTable table = table_of(kernels, centroids, d, metric, &coded.frame());
                ASSERT_TRUE(table.coded());
                const Outcome expected = brute_force(metric, x, centroids, d);
                expect_same(run(table, points, {}, &coded), expected);
            }
        }
    }
}

/// Columns alike, and two that are so much larger that codes have little of the others.
TEST_P(Codes, PayWhereTheyLeaveFewCandidates) {
    const int64_t n = 3000;
    const int64_t d = 64;
    Floats x = test::normal(n, d, 1);
    Floats centroids = test::normal(1000, d, 2);
    EXPECT_TRUE(codes_pay(
            Points(VectorView::of(x.data(), n, d)),
            table_of(kernels, centroids, d, metric),
            nullptr));
    if (metric == Metric::inner_product) {
        return; // the longest centroids win, and are few
    }
    for (Floats* rows : {&x, &centroids}) {
        for (size_t i = 0; i < rows->size(); i += static_cast<size_t>(d)) {
            (*rows)[i] *= 100.0f;
            (*rows)[i + 1] *= 100.0f;
        }
    }
    EXPECT_FALSE(codes_pay(
            Points(VectorView::of(x.data(), n, d)),
            table_of(kernels, centroids, d, metric),
            nullptr));
}

/// Rows that have no scores in a frame of old cost all centroids.
TEST_P(Codes, DoNotPayInAFrameThatIsFarTooSmall) {
    const int64_t n = 2000;
    const int64_t d = 64;
    const Floats x = test::normal(n, d, 1);
    const Floats centroids = test::normal(300, d, 2);
    const Points points(VectorView::of(x.data(), n, d));
    const Floats tiny = test::normal(300, d, 3, 0, 1e-13f);
    const Frame frame = table_of(kernels, tiny, d, metric).cells().front().frame();
    const CentroidTable table = table_of(kernels, centroids, d, metric, &frame);
    ASSERT_TRUE(table.coded());
    EXPECT_FALSE(codes_pay(points, table, nullptr));
    EXPECT_TRUE(codes_pay(points, table_of(kernels, centroids, d, metric), nullptr));
}

INSTANTIATE_TEST_SUITE_P(
        Kernels,
        Codes,
        testing::Combine(
                testing::ValuesIn(all_code_kernels()),
                testing::Values(Metric::l2, Metric::inner_product)),
        EveryKernel::name);

} // namespace
} // namespace faiss_flash::cpu
