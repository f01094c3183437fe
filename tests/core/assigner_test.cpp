/// Centroids that are prepared once, and kept from call to call.
#include <faiss_flash/assigner.h>

#include <support/data.h>

#include <gtest/gtest.h>

#include <string>
#include <thread>
#include <vector>

namespace faiss_flash {
namespace {

using test::Floats;

struct Found {
    explicit Found(int64_t n) : ids(static_cast<size_t>(n)), distances(ids.size()) {}
    bool operator==(const Found& other) const {
        return ids == other.ids && distances == other.distances;
    }
    std::vector<int64_t> ids;
    Floats distances;
};

Found assigned(const VectorView& points, const VectorView& centroids, Metric metric) {
    Found found(points.n);
    assign(points, centroids, metric, found.ids.data(), found.distances.data(), "cpu");
    return found;
}

Found assigned_again(const VectorView& points, const VectorView& centroids, Metric metric) {
    Found found(points.n);
    assign_again(points, centroids, metric, found.ids.data(), found.distances.data(), "cpu");
    return found;
}

/// Shapes with a table for short rows, in float32, in 8 bits and of numbers on a line; few and many
/// points of each, so that calls need one table after the other.
TEST(PreparedAssigner, AssignsAsAssignDoes) {
    for (const int64_t d : {1, 5, 40, 160}) {
        const Floats x = test::mixture(6000, d, 50, 1, 0.4f);
        for (const Metric metric : {Metric::l2, Metric::inner_product}) {
            const VectorView centroids = VectorView::of(x.data(), 700, d);
            const PreparedAssigner assigner(centroids, metric, "cpu");
            for (const int64_t n : {6000, 3, 0, 900, 6000}) {
                const VectorView points = VectorView::of(x.data(), n, d);
                Found found(n);
                assigner.assign(points, found.ids.data(), found.distances.data());
                EXPECT_EQ(found, assigned(points, centroids, metric)) << d << " " << n;
                Found ids_alone(n);
                assigner.assign(points, ids_alone.ids.data(), nullptr);
                EXPECT_EQ(ids_alone.ids, found.ids);
            }
        }
    }
}

TEST(PreparedAssigner, KeepsACopy) {
    Floats x = test::mixture(2000, 24, 30, 1, 0.4f);
    Floats centroids(x.begin(), x.begin() + 100 * 24);
    const VectorView view = VectorView::of(centroids.data(), 100, 24);
    const VectorView points = VectorView::of(x.data(), 2000, 24);
    const Found before = assigned(points, view, Metric::l2);
    const PreparedAssigner assigner(view, Metric::l2, "cpu");
    EXPECT_TRUE(assigner.holds(view));
    centroids[99 * 24 + 23] += 1000;
    EXPECT_FALSE(assigner.holds(view));
    Found found(2000);
    assigner.assign(points, found.ids.data(), found.distances.data());
    EXPECT_EQ(found, before);
}

TEST(PreparedAssigner, HoldsWhatHasTheSameBits) {
    const Floats x = test::normal(300, 8, 1);
    std::vector<float> wide(300 * 10);
    for (size_t i = 0; i < x.size(); i++) {
        wide[i / 8 * 10 + i % 8] = x[i];
    }
    VectorView strided = VectorView::of(wide.data(), 300, 8);
    strided.row_stride = 40;
    const PreparedAssigner assigner(VectorView::of(x.data(), 300, 8), Metric::l2, "cpu");
    EXPECT_TRUE(assigner.holds(strided));
    EXPECT_FALSE(assigner.holds(VectorView::of(x.data(), 299, 8)));
    EXPECT_FALSE(assigner.holds(VectorView::of(x.data(), 600, 4)));
}

TEST(PreparedAssigner, ServesSeveralThreads) {
    const Floats x = test::mixture(3000, 48, 50, 1, 0.4f);
    const VectorView points = VectorView::of(x.data(), 3000, 48);
    const VectorView centroids = VectorView::of(x.data(), 500, 48);
    const Found expected = assigned(points, centroids, Metric::l2);
    const PreparedAssigner assigner(centroids, Metric::l2, "cpu");
    std::vector<Found> found(6, Found(3000));
    std::vector<std::thread> threads;
    for (size_t t = 0; t < found.size(); t++) {
        threads.emplace_back([&, t] {
            for (int i = 0; i < 4; i++) {
                assigner.assign(points, found[t].ids.data(), found[t].distances.data());
                EXPECT_EQ(assigned_again(points, centroids, Metric::l2), expected);
            }
        });
    }
    for (std::thread& thread : threads) {
        thread.join();
    }
    for (const Found& one : found) {
        EXPECT_EQ(one, expected);
    }
}

template <class Call>
void expect_rejected(const std::string& name, const Call& call) {
    try {
        call();
        ADD_FAILURE() << "accepted, expected " << name;
    } catch (const InvalidArgument& error) {
        EXPECT_NE(std::string(error.what()).find(name), std::string::npos) << error.what();
    }
}

TEST(PreparedAssigner, NamesWhatIsWrong) {
    Floats x = test::normal(1000, 8, 1);
    const VectorView good = VectorView::of(x.data(), 100, 8);
    const PreparedAssigner assigner(good, Metric::l2, "cpu");
    std::vector<int64_t> ids(1000, 77);
    Floats bad = x;
    bad[50 * 8 + 3] = NAN;
    bad[70 * 8 + 1] = NAN;
    const VectorView with_nan = VectorView::of(bad.data(), 1000, 8);
    expect_rejected("points[50][3]", [&] { assigner.assign(with_nan, ids.data(), nullptr); });
    expect_rejected("centroids.d=8", [&] {
        assigner.assign(VectorView::of(x.data(), 10, 4), ids.data(), nullptr);
    });
    expect_rejected("ids is null", [&] { assigner.assign(good, nullptr, nullptr); });
    EXPECT_EQ(ids, std::vector<int64_t>(1000, 77));
    expect_rejected("centroids[50][3]", [&] { PreparedAssigner(with_nan, Metric::l2, "cpu"); });
    expect_rejected("centroids.n=0", [&] {
        PreparedAssigner(VectorView::of(x.data(), 0, 8), Metric::l2, "cpu");
    });
    expect_rejected("metric=9", [&] { PreparedAssigner(good, static_cast<Metric>(9), "cpu"); });
    expect_rejected("device=tpu", [&] { PreparedAssigner(good, Metric::l2, "tpu"); });
}

/// At the same address: edited, of another metric, of other rows, no longer finite.
TEST(AssignAgain, SeesCentroidsAsTheyAre) {
    const Floats x = test::mixture(3000, 32, 50, 1, 0.4f);
    const VectorView points = VectorView::of(x.data(), 3000, 32);
    Floats memory(x.begin(), x.begin() + 400 * 32);
    const VectorView all = VectorView::of(memory.data(), 400, 32);
    for (size_t edit = 0; edit < 20; edit++) {
        memory[(edit * 7919) % memory.size()] += 50;
        for (const VectorView& view : {all, VectorView::of(memory.data(), 399, 32), all}) {
            for (const Metric metric : {Metric::l2, Metric::inner_product}) {
                EXPECT_EQ(assigned_again(points, view, metric), assigned(points, view, metric));
            }
        }
    }
    memory[17] = INFINITY;
    std::vector<int64_t> ids(3000, 77);
    expect_rejected("centroids[0][17]", [&] {
        assign_again(points, all, Metric::l2, ids.data(), nullptr, "cpu");
    });
    EXPECT_EQ(ids, std::vector<int64_t>(3000, 77));
}

/// More than are kept, in turn.
TEST(AssignAgain, ManyCentroids) {
    const Floats x = test::mixture(3000, 16, 50, 1, 0.4f);
    const VectorView points = VectorView::of(x.data(), 1000, 16);
    for (int round = 0; round < 3; round++) {
        for (int64_t first = 0; first < 20; first++) {
            const VectorView view = VectorView::of(x.data() + first * 16, 200 + first, 16);
            EXPECT_EQ(assigned_again(points, view, Metric::l2), assigned(points, view, Metric::l2));
        }
    }
}

/// What the caller polls ends a call with nothing written, and what is kept stays right.
TEST(AssignAgain, IsStopped) {
    const Floats x = test::mixture(200000, 64, 50, 1, 0.4f);
    const VectorView points = VectorView::of(x.data(), 200000, 64);
    const VectorView centroids = VectorView::of(x.data(), 3000, 64);
    std::vector<int64_t> ids(200000, 77);
    struct Stopped {};
    const auto stop = [] { throw Stopped(); };
    EXPECT_THROW(
            assign_again(points, centroids, Metric::l2, ids.data(), nullptr, "cpu", stop), Stopped);
    EXPECT_EQ(ids, std::vector<int64_t>(200000, 77));
    const VectorView few = VectorView::of(x.data(), 2000, 64);
    EXPECT_EQ(assigned_again(few, centroids, Metric::l2), assigned(few, centroids, Metric::l2));
}

} // namespace
} // namespace faiss_flash
