/// Inputs that once wrote out of bounds, failed or went elsewhere. By the public functions alone.
#include <faiss_flash/kmeans.h>

#include <cuda/device_data.h>
#include <support/data.h>

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <thread>

namespace faiss_flash {
namespace {

using test::Floats;

struct FaultsOnDevice : testing::Test {
    void SetUp() override {
        if (available_backends().front() == "cpu") {
            GTEST_SKIP() << "no CUDA device";
        }
    }
    /// The device works, and nothing was written where nobody looked.
    void TearDown() override {
        if (!IsSkipped()) {
            cuda::check(cudaDeviceSynchronize(), "after the test");
        }
    }
};

KMeansOptions all_points(int niter) {
    KMeansOptions options;
    options.device = "cuda";
    options.niter = niter;
    options.max_points_per_centroid = -1;
    options.min_points_per_centroid = 1;
    options.early_stop_threshold.reset();
    return options;
}

/// Rows of 16 bits on the device.
struct Rows {
    int64_t n, d;
    bool bf16;
    std::vector<uint16_t> raw;
    test::DevicePointer device;

    Rows(const Floats& values, int64_t d_in, bool bf16_in)
        : n(static_cast<int64_t>(values.size()) / d_in), d(d_in), bf16(bf16_in) {
        for (const float value : values) {
            raw.push_back(test::bits(value, bf16));
        }
        device = test::to_device(raw.data(), raw.size() * 2);
    }
    KMeansInput input(MemorySpace space) const {
        KMeansInput made;
        made.points.data = space == MemorySpace::device ? device.get() : raw.data();
        made.points.n = n;
        made.points.d = d;
        made.points.dtype = bf16 ? DType::bf16 : DType::f16;
        made.points.space = space;
        return made;
    }
};

void expect_ids_of(const KMeansResult& result, int64_t n) {
    ASSERT_EQ(static_cast<int64_t>(result.assignment.size()), n);
    for (const int64_t id : result.assignment) {
        ASSERT_TRUE(id >= 0 && id < result.k) << id;
    }
    for (const float value : result.centroids) {
        ASSERT_TRUE(std::isfinite(value));
    }
}

/// Initial centroids beyond f16: their squares once made every score -inf, and no id.
TEST_F(FaultsOnDevice, InitialCentroidsBeyondHalves) {
    for (const int64_t k : {9000, 20}) {
        const Rows rows(test::normal(20000, 64, 1), 64, false);
        const Floats initial(static_cast<size_t>(k * 64), 7e4f);
        KMeansInput input = rows.input(MemorySpace::device);
        input.initial_centroids = VectorView::of(initial.data(), k, 64);
        KMeansOptions options = all_points(3);
        options.precision = Precision::fast;
        options.return_assignment = true;
        const auto result = kmeans(input, k, options);
        expect_ids_of(result, rows.n);
        // All at one place: the lowest id has all points at first, and their mean.
        EXPECT_EQ(result.iterations[0].nsplit, k - 1);
        EXPECT_LT(result.iterations[2].objective, result.iterations[0].objective);
    }
}

/// Values whose products leave float32's range, above and below.
TEST_F(FaultsOnDevice, ProductsBeyondFloats) {
    for (const double scale : {5e19, 1e30, 1e-30, 1e-37}) {
        for (const int64_t k : {9000, 40}) {
            SCOPED_TRACE(std::to_string(scale) + " " + std::to_string(k));
            Floats values = test::mixture(20000, 16, 30, 1, 0.1f);
            for (float& value : values) {
                value = static_cast<float>(value * scale);
            }
            const Rows rows(values, 16, true);
            KMeansOptions options = all_points(4);
            options.precision = Precision::fast;
            options.return_assignment = true;
            const auto result = kmeans(rows.input(MemorySpace::device), k, options);
            expect_ids_of(result, rows.n);
            options.precision = Precision::exact;
            const auto exact = kmeans(rows.input(MemorySpace::device), k, options);
            const double expected = exact.iterations.back().objective;
            EXPECT_NEAR(result.iterations.back().objective, expected, 0.01 * expected);
        }
    }
}

/// Several of a batch, of which the second leaves the range.
TEST_F(FaultsOnDevice, OneOfABatchBeyondFloats) {
    Floats values = test::mixture(4 * 3000, 8, 30, 1, 0.1f);
    for (size_t i = 3000 * 8; i < 6000 * 8; i++) {
        values[i] *= 1e25f;
    }
    const Rows rows(values, 8, true);
    std::vector<KMeansInput> inputs;
    for (int64_t b = 0; b < 4; b++) {
        KMeansInput one = rows.input(MemorySpace::device);
        one.points.data = static_cast<const uint16_t*>(one.points.data) + b * 3000 * 8;
        one.points.n = 3000;
        inputs.push_back(one);
    }
    KMeansOptions options = all_points(4);
    options.precision = Precision::fast;
    options.return_assignment = true;
    for (const KMeansResult& result : batch_kmeans(inputs, 20, options)) {
        expect_ids_of(result, 3000);
    }
}

/// What one thread asks of a kernel must not be taken from another.
TEST_F(FaultsOnDevice, ThreadsWithDifferentNumbersOfClusters) {
    const int64_t ks[] = {8192, 1024, 300, 64};
    constexpr int64_t kPoints = 60000;
    const Floats x = test::normal(kPoints, 16, 3);
    const auto device = test::to_device(x.data(), x.size() * 4);
    std::vector<uint16_t> raw;
    for (const float value : x) {
        raw.push_back(test::bits(value, false));
    }
    const auto halves = test::to_device(raw.data(), raw.size() * 2);
    const auto run = [&](int64_t k, Precision precision) {
        KMeansInput input;
        input.points = VectorView::of(static_cast<const float*>(device.get()), kPoints, 16);
        input.points.space = MemorySpace::device;
        if (precision == Precision::fast) {
            input.points.data = halves.get();
            input.points.dtype = DType::f16;
        }
        KMeansOptions options = all_points(5);
        options.precision = precision;
        return kmeans(input, k, options).centroids;
    };
    for (const Precision precision : {Precision::exact, Precision::fast}) {
        std::vector<Floats> alone;
        for (const int64_t k : ks) {
            alone.push_back(run(k, precision));
        }
        std::vector<std::string> errors(4);
        std::vector<std::thread> threads;
        for (size_t t = 0; t < 4; t++) {
            threads.emplace_back([&, t] {
                try {
                    for (int i = 0; i < 15; i++) {
                        if (run(ks[t], precision) != alone[t]) {
                            errors[t] = "other centroids than alone";
                        }
                    }
                } catch (const std::exception& error) {
                    errors[t] = error.what();
                }
            });
        }
        for (std::thread& thread : threads) {
            thread.join();
        }
        for (size_t t = 0; t < 4; t++) {
            EXPECT_EQ(errors[t], "") << "k=" << ks[t];
        }
    }
}

/// Of few points each: `count` problems of n x d.
std::vector<KMeansInput> small_problems(const Floats& x, int64_t count, int64_t n, int64_t d) {
    std::vector<KMeansInput> inputs(static_cast<size_t>(count));
    for (size_t b = 0; b < inputs.size(); b++) {
        inputs[b].points = VectorView::of(x.data() + static_cast<int64_t>(b) * n * d, n, d);
    }
    return inputs;
}

TEST_F(FaultsOnDevice, ThousandsOfProblems) {
    constexpr int64_t kProblems = 2500;
    const Floats x = test::normal(kProblems * 256, 64, 5);
    const Rows rows(x, 64, false);
    KMeansOptions options = all_points(5);
    options.device = "cuda";
    for (const MemorySpace space : {MemorySpace::device, MemorySpace::host}) {
        std::vector<KMeansInput> inputs(kProblems, rows.input(space));
        for (size_t b = 0; b < inputs.size(); b++) {
            const auto* data = static_cast<const uint16_t*>(inputs[b].points.data);
            inputs[b].points.data = data + b * 256 * 64;
            inputs[b].points.n = 256;
        }
        for (const Precision precision : {Precision::fast, Precision::exact}) {
            if (precision == Precision::exact) {
                inputs.resize(300); // one after the other
            }
            options.precision = precision;
            const auto results = batch_kmeans(inputs, 16, options);
            for (const size_t b : {size_t{0}, size_t{17}, inputs.size() - 1}) {
                EXPECT_EQ(results[b].centroids, kmeans(inputs[b], 16, options).centroids) << b;
            }
            // The CPU is exact always: this one ran on the device.
            if (precision == Precision::fast) {
                EXPECT_EQ(results[0].iterations[0].decided, 0);
            }
        }
    }
}

TEST_F(FaultsOnDevice, MoreProblemsThanAGridHolds) {
    constexpr int64_t kProblems = 70000;
    const Floats x = test::normal(kProblems * 40, 4, 6);
    const auto inputs = small_problems(x, kProblems, 40, 4);
    KMeansOptions options = all_points(3);
    options.return_assignment = true;
    options.device = "cuda";
    const auto results = batch_kmeans(inputs, 3, options);
    options.device = "cpu";
    for (const size_t b : {0, 1, 65534, 65535, 65536, 69999}) {
        const auto expected = kmeans(inputs[b], 3, options);
        EXPECT_EQ(results[b].centroids, expected.centroids) << b;
        EXPECT_EQ(results[b].assignment, expected.assignment) << b;
    }
}

/// Rows behind a decoder, some of which come out as NaN or as an exception.
class Decoder final : public RowDecoder {
   public:
    Decoder(int64_t d, const uint8_t* first, int64_t bad_row, bool throws)
        : d_(d), first_(first), bad_row_(bad_row), throws_(throws) {}
    void decode(int64_t n, const uint8_t* codes, float* out) const override {
        for (int64_t i = 0; i < n * d_; i++) {
            out[i] = codes[i];
        }
        const int64_t row = (codes - first_) / d_;
        if (row <= bad_row_ && bad_row_ < row + n) {
            if (throws_) {
                throw std::runtime_error("no such code");
            }
            out[(bad_row_ - row) * d_ + 2] = NAN;
        }
    }

   private:
    int64_t d_;
    const uint8_t* first_;
    int64_t bad_row_;
    bool throws_;
};

TEST_F(FaultsOnDevice, DecodersThatFail) {
    constexpr int64_t kRows = 30000;
    constexpr int64_t kColumns = 12;
    std::vector<uint8_t> codes(kRows * kColumns);
    for (size_t i = 0; i < codes.size(); i++) {
        codes[i] = static_cast<uint8_t>(i * 7919 % 251);
    }
    KMeansInput input;
    input.points.data = codes.data();
    input.points.n = kRows;
    input.points.d = kColumns;
    input.points.row_stride = kColumns;
    KMeansOptions options = all_points(3);
    options.device = "cuda";
    const Decoder with_nan(kColumns, codes.data(), 29999, false);
    input.points.decoder = &with_nan;
    try {
        kmeans(input, 50, options);
        ADD_FAILURE() << "accepted";
    } catch (const InvalidArgument& error) {
        EXPECT_NE(std::string(error.what()).find("points[29999][2]"), std::string::npos)
                << error.what();
    }
    const Decoder throwing(kColumns, codes.data(), 29999, true);
    input.points.decoder = &throwing;
    EXPECT_THROW(kmeans(input, 50, options), std::runtime_error);
    const Decoder good(kColumns, codes.data(), -1, false);
    input.points.decoder = &good;
    const auto result = kmeans(input, 50, options);
    options.device = "cpu";
    EXPECT_EQ(result.centroids, kmeans(input, 50, options).centroids);
}

/// Takes its time.
class SlowDecoder final : public RowDecoder {
   public:
    void decode(int64_t n, const uint8_t* codes, float* out) const override {
        std::this_thread::sleep_for(std::chrono::milliseconds(60));
        std::copy_n(codes, n * kColumns, out);
    }
    static constexpr int64_t kColumns = 16;
};

TEST_F(FaultsOnDevice, NothingIsWrittenBeforeAnException) {
    constexpr int64_t kRows = 40000;
    const std::vector<uint8_t> bytes(kRows * SlowDecoder::kColumns, 3);
    const SlowDecoder decoder;
    VectorView rows;
    rows.data = bytes.data();
    rows.n = kRows;
    rows.d = rows.row_stride = SlowDecoder::kColumns;
    rows.decoder = &decoder;
    const Floats centroids = test::normal(10, rows.d, 1);
    const VectorView table = VectorView::of(centroids.data(), 10, rows.d);
    std::vector<int64_t> ids(kRows, 77);
    Floats distances(kRows, 7);
    const auto stop = [] { throw std::runtime_error("stop"); };
    EXPECT_THROW(
            assign(rows, table, Metric::l2, ids.data(), distances.data(), "cuda", stop),
            std::runtime_error);
    EXPECT_EQ(ids, std::vector<int64_t>(kRows, 77));
    EXPECT_EQ(distances, Floats(kRows, 7));
    KMeansInput input;
    input.points = rows;
    KMeansOptions options = all_points(100000);
    int polls = 0;
    options.poll = [&] {
        if (++polls == 3) { // long before the first iteration asks
            throw std::runtime_error("stop");
        }
    };
    EXPECT_THROW(kmeans(input, 10, options), std::runtime_error);

    Floats values(20000 * 16, 1);
    values[19999 * 16 + 3] = INFINITY;
    std::vector<int64_t> some(20000, 77);
    EXPECT_THROW(
            assign(VectorView::of(values.data(), 20000, 16),
                   VectorView::of(values.data(), 5, 16),
                   Metric::l2,
                   some.data(),
                   nullptr,
                   "cuda"),
            InvalidArgument);
    EXPECT_EQ(some, std::vector<int64_t>(20000, 77));
}

/// Two clusters of 2^29 points each: twice as many entries as 31 bits hold.
TEST_F(FaultsOnDevice, AsManyPointsAsThereCanBe) {
    constexpr int64_t kPoints = int64_t{1} << 30;
    size_t free = 0;
    size_t total = 0;
    cuda::check(cudaMemGetInfo(&free, &total), "memory");
    if (free < size_t{50} << 30) {
        GTEST_SKIP() << "needs 50 GB of device memory";
    }
    void* data = nullptr;
    cuda::check(cudaMalloc(&data, kPoints), "the points");
    const test::DevicePointer owner(data);
    cuda::check(cudaMemset(data, 10, kPoints / 2), "the points");
    cuda::check(cudaMemset(static_cast<uint8_t*>(data) + kPoints / 2, 200, kPoints / 2), "points");
    KMeansInput input;
    input.points.data = data;
    input.points.n = kPoints;
    input.points.d = 1;
    input.points.dtype = DType::u8;
    input.points.space = MemorySpace::device;
    const Floats initial{20, 180};
    input.initial_centroids = VectorView::of(initial.data(), 2, 1);
    const auto result = kmeans(input, 2, all_points(2));
    EXPECT_EQ(result.centroids, (Floats{10, 200}));
    EXPECT_EQ(result.iterations[1].imbalance_factor, 1);
    input.points.n = kPoints + 1;
    try {
        kmeans(input, 2, all_points(2));
        ADD_FAILURE() << "accepted";
    } catch (const InvalidArgument& error) {
        EXPECT_NE(std::string(error.what()).find("points.n=1073741825"), std::string::npos)
                << error.what();
    }
}

TEST_F(FaultsOnDevice, TooManyColumnsAreNamed) {
    const Floats x = test::normal(40, 40000, 1);
    const auto device = test::to_device(x.data(), x.size() * 4);
    KMeansInput input;
    input.points = VectorView::of(static_cast<const float*>(device.get()), 40, 40000);
    input.points.space = MemorySpace::device;
    try {
        kmeans(input, 4, all_points(2));
        ADD_FAILURE() << "accepted";
    } catch (const InvalidArgument& error) {
        EXPECT_NE(std::string(error.what()).find("points.d=40000"), std::string::npos)
                << error.what();
    }
    input.points = VectorView::of(x.data(), 40, 40000); // the CPU takes it, and is named
    KMeansOptions options = all_points(2);
    options.verbose = true;
    testing::internal::CaptureStdout();
    EXPECT_EQ(kmeans(input, 4, options).iterations.size(), 2u);
    const std::string lines = testing::internal::GetCapturedStdout();
    EXPECT_NE(lines.find("MiB of a GPU on cpu\n"), std::string::npos) << lines;
}

} // namespace
} // namespace faiss_flash
