/// Shards beside each other: sums of parts are the sums of the whole.
#include <faiss_flash/core/pieces.h>

#include <support/shards.h>

#include <gtest/gtest.h>

namespace faiss_flash {
namespace {

TEST(Shards, SameBitsForAnyCuts) {
    test::expect_same_for_any_cuts(host_backend());
}

/// A selection's parts are selections, a view's parts views.
TEST(Shards, PartsHaveTheRowsOfTheWhole) {
    const auto x = test::normal(100, 3, 1);
    const VectorView view = VectorView::of(x.data(), 100, 3);
    const Points all(view);
    const Points some(view, {7, 3, 99, 3, 0});
    for (const Points* points : {&all, &some}) {
        for (int64_t first = 0; first < points->n(); first++) {
            const Points part = points->part(first, points->n() - first);
            ASSERT_EQ(part.n(), points->n() - first);
            for (int64_t i = 0; i < part.n(); i++) {
                std::vector<float> expected(3), got(3);
                points->copy_row(first + i, expected.data());
                part.copy_row(i, got.data());
                ASSERT_EQ(got, expected);
            }
        }
    }
}

/// The objective of a run over shards tells when to stop and which restart to keep: also where it
/// has few digits left.
TEST(Shards, FarFromTheOrigin) {
    constexpr int64_t kN = 4000;
    constexpr int64_t kD = 24;
    const auto x = test::normal(kN, kD, 4, 1e3f, 1e-3f);
    const std::vector<Problem> problem{{Points(VectorView::of(x.data(), kN, kD))}};
    KMeansOptions options;
    options.nredo = 4;
    options.early_stop_threshold = 1e-2;
    const auto expected = run_lloyd(host_backend(), problem, {{}}, 30, options).front();
    const auto got =
            run_lloyd(host_backend(), problem, {{}}, 30, options, nullptr, {1, 1777}).front();
    EXPECT_EQ(got.centroids, expected.centroids);
    ASSERT_EQ(got.iterations.size(), expected.iterations.size());
    for (size_t i = 0; i < got.iterations.size(); i++) {
        EXPECT_EQ(got.iterations[i].objective, expected.iterations[i].objective);
    }
}

} // namespace
} // namespace faiss_flash
