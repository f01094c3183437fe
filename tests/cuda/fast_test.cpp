/// k-means on points of the device, exact and fast.
#include <faiss_flash/cuda/centroids.h>
#include <faiss_flash/cuda/device_info.h>
#include <faiss_flash/kmeans.h>

#include <cuda/device_data.h>
#include <support/data.h>

#include <gtest/gtest.h>

#include <cmath>

namespace faiss_flash {
namespace {

using test::Floats;

/// Points of several problems in 16 bits, on the host and on the device.
struct HalfData {
    int64_t batch, n, d;
    bool bf16;
    std::vector<uint16_t> raw;
    test::DevicePointer device;

    HalfData(int64_t batch_in, int64_t n_in, int64_t d_in, bool bf16_in = false)
        : batch(batch_in), n(n_in), d(d_in), bf16(bf16_in) {
        const Floats x = test::mixture(batch * n, d, 40, 5, 0.5f);
        for (const float value : x) {
            raw.push_back(test::bits(value, bf16));
        }
        device = test::to_device(raw.data(), raw.size() * 2);
    }
    std::vector<KMeansInput> inputs(MemorySpace space) const {
        std::vector<KMeansInput> all(static_cast<size_t>(batch));
        for (size_t b = 0; b < all.size(); b++) {
            const bool on_device = space == MemorySpace::device;
            const auto* data = on_device ? static_cast<const uint16_t*>(device.get()) : raw.data();
            VectorView& view = all[b].points;
            view.data = data + b * static_cast<size_t>(n * d);
            view.n = n;
            view.d = d;
            view.dtype = bf16 ? DType::bf16 : DType::f16;
            view.space = space;
        }
        return all;
    }
};

KMeansOptions options(Precision precision, int niter = 10) {
    KMeansOptions made;
    made.device = "cuda";
    made.precision = precision;
    made.niter = niter;
    made.early_stop_threshold.reset();
    return made;
}

void expect_same(const KMeansResult& a, const KMeansResult& b) {
    EXPECT_EQ(a.centroids, b.centroids);
    ASSERT_EQ(a.iterations.size(), b.iterations.size());
    for (size_t i = 0; i < a.iterations.size(); i++) {
        EXPECT_EQ(a.iterations[i].objective, b.iterations[i].objective) << i;
        EXPECT_EQ(a.iterations[i].imbalance_factor, b.iterations[i].imbalance_factor) << i;
        EXPECT_EQ(a.iterations[i].nsplit, b.iterations[i].nsplit) << i;
    }
}

struct OnDevice : testing::Test {
    void SetUp() override {
        if (cuda::device_count() == 0) {
            GTEST_SKIP() << "no CUDA device";
        }
    }
};

TEST_F(OnDevice, DeviceMemoryGivesWhatHostMemoryGives) {
    for (const bool bf16 : {false, true}) {
        const HalfData data(2, 6007, 24, bf16);
        for (const Precision precision : {Precision::exact, Precision::fast}) {
            KMeansOptions chosen = options(precision);
            chosen.return_assignment = true;
            const auto host = batch_kmeans(data.inputs(MemorySpace::host), 30, chosen);
            const auto device = batch_kmeans(data.inputs(MemorySpace::device), 30, chosen);
            for (size_t b = 0; b < host.size(); b++) {
                expect_same(host[b], device[b]);
                EXPECT_EQ(host[b].assignment, device[b].assignment);
                EXPECT_EQ(host[b].distances, device[b].distances);
            }
        }
    }
}

TEST_F(OnDevice, SamplesOfDeviceMemory) {
    const HalfData data(1, 9001, 20);
    KMeansOptions chosen = options(Precision::fast);
    chosen.max_points_per_centroid = 50;
    const auto host = batch_kmeans(data.inputs(MemorySpace::host), 60, chosen);
    expect_same(host[0], batch_kmeans(data.inputs(MemorySpace::device), 60, chosen)[0]);
    chosen.precision = Precision::exact;
    const auto exact = batch_kmeans(data.inputs(MemorySpace::host), 60, chosen);
    expect_same(exact[0], batch_kmeans(data.inputs(MemorySpace::device), 60, chosen)[0]);
}

/// Until a rounded centroid makes a point go elsewhere the two run alike.
TEST_F(OnDevice, FastFollowsExact) {
    for (const Metric metric : {Metric::l2, Metric::inner_product}) {
        const HalfData data(1, 20011, 32);
        KMeansOptions chosen = options(Precision::exact, 12);
        chosen.metric = metric;
        chosen.spherical = metric == Metric::inner_product;
        const auto exact = batch_kmeans(data.inputs(MemorySpace::device), 80, chosen)[0];
        chosen.precision = Precision::fast;
        const auto fast = batch_kmeans(data.inputs(MemorySpace::device), 80, chosen)[0];
        ASSERT_EQ(fast.iterations.size(), exact.iterations.size());
        for (size_t i = 0; i < fast.iterations.size(); i++) {
            const double expected = exact.iterations[i].objective;
            EXPECT_NEAR(fast.iterations[i].objective, expected, 1e-3 * std::abs(expected)) << i;
            EXPECT_EQ(fast.iterations[i].decided, 0);
        }
        EXPECT_NEAR(
                fast.iterations[0].objective,
                exact.iterations[0].objective,
                1e-5 * std::abs(exact.iterations[0].objective));
    }
}

TEST_F(OnDevice, BatchEqualsALoopAndRepeatsBitwise) {
    for (const Precision precision : {Precision::exact, Precision::fast}) {
        for (const int64_t n : {3001, 40009}) {
            const HalfData data(4, n, 16);
            const auto inputs = data.inputs(MemorySpace::device);
            const auto batch = batch_kmeans(inputs, 50, options(precision));
            for (int again = 0; again < 2; again++) {
                const auto repeated = batch_kmeans(inputs, 50, options(precision));
                for (size_t b = 0; b < inputs.size(); b++) {
                    expect_same(repeated[b], batch[b]);
                }
            }
            for (size_t b = 0; b < inputs.size(); b++) {
                expect_same(kmeans(inputs[b], 50, options(precision)), batch[b]);
            }
        }
    }
}

/// Few points and many centroids: blocks share the centroids out, in memory that graphs take.
TEST_F(OnDevice, ManyCentroidsReplay) {
    constexpr int kReplayed = cuda::kFirstReplayed + 8;
    const HalfData data(1, 6007, 64);
    const auto inputs = data.inputs(MemorySpace::device);
    const auto fast = kmeans(inputs[0], 1500, options(Precision::fast, kReplayed));
    expect_same(kmeans(inputs[0], 1500, options(Precision::fast, kReplayed)), fast);
    const auto exact = kmeans(inputs[0], 1500, options(Precision::exact, kReplayed));
    ASSERT_EQ(fast.iterations.size(), exact.iterations.size());
    for (size_t i = 0; i < fast.iterations.size(); i++) {
        const double expected = exact.iterations[i].objective;
        EXPECT_NEAR(fast.iterations[i].objective, expected, 1e-2 * expected) << i;
    }
}

TEST_F(OnDevice, ProblemsOfABatchConvergeOnTheirOwn) {
    HalfData data(3, 2003, 8);
    // The second problem's points are four: it converges at once, with empty clusters.
    for (int64_t i = 0; i < data.n * data.d; i++) {
        data.raw[static_cast<size_t>(data.n * data.d + i)] =
                test::bits(static_cast<float>(i / data.d % 4), false);
    }
    data.device = test::to_device(data.raw.data(), data.raw.size() * 2);
    KMeansOptions chosen = options(Precision::fast, 25);
    chosen.early_stop_threshold = 1e-3;
    const auto inputs = data.inputs(MemorySpace::device);
    const auto batch = batch_kmeans(inputs, 10, chosen);
    for (size_t b = 0; b < inputs.size(); b++) {
        expect_same(kmeans(inputs[b], 10, chosen), batch[b]);
    }
    EXPECT_LT(batch[1].iterations.size(), batch[0].iterations.size());
    EXPECT_GT(batch[1].iterations[0].nsplit, 0);
}

TEST_F(OnDevice, CallbackSeesEveryIterationAndStops) {
    const HalfData data(1, 5003, 16);
    int calls = 0;
    KMeansOptions chosen = options(Precision::fast, 20);
    chosen.callback = [&](const IterationStats& stats, double seconds_left) {
        EXPECT_GT(stats.objective, 0);
        EXPECT_GE(seconds_left, 0);
        return ++calls < 7;
    };
    const auto stopped = batch_kmeans(data.inputs(MemorySpace::device), 30, chosen)[0];
    EXPECT_EQ(calls, 7);
    expect_same(
            stopped,
            batch_kmeans(data.inputs(MemorySpace::device), 30, options(Precision::fast, 7))[0]);
}

/// What Ctrl-C does: poll() throws. The next run finds everything as it was.
TEST_F(OnDevice, AnExceptionEndsTheRun) {
    const HalfData data(1, 50021, 64);
    const auto inputs = data.inputs(MemorySpace::device);
    for (const Precision precision : {Precision::exact, Precision::fast}) {
        const auto expected = batch_kmeans(inputs, 30, options(precision));
        KMeansOptions chosen = options(precision, 1000000);
        int polls = 0;
        chosen.poll = [&] {
            if (++polls == 3) {
                throw std::runtime_error("stop");
            }
        };
        EXPECT_THROW(batch_kmeans(inputs, 30, chosen), std::runtime_error);
        expect_same(batch_kmeans(inputs, 30, options(precision))[0], expected[0]);
    }
}

TEST_F(OnDevice, NaNsOfDeviceMemoryAreNamed) {
    HalfData data(1, 3001, 12);
    data.raw[1234 * 12 + 5] = 0x7E00;
    data.device = test::to_device(data.raw.data(), data.raw.size() * 2);
    try {
        batch_kmeans(data.inputs(MemorySpace::device), 10, options(Precision::fast));
        ADD_FAILURE() << "accepted";
    } catch (const InvalidArgument& error) {
        EXPECT_NE(
                std::string(error.what()).find("points[1234][5] is not finite"), std::string::npos)
                << error.what();
    }
}

/// Host memory that is said to be the device's is told apart before anything reads it.
TEST_F(OnDevice, HostMemoryIsNotDeviceMemory) {
    const HalfData data(1, 3001, 12);
    auto inputs = data.inputs(MemorySpace::host);
    inputs[0].points.space = MemorySpace::device;
    EXPECT_THROW(kmeans(inputs[0], 10), InvalidArgument);
}

} // namespace
} // namespace faiss_flash
