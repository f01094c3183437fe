/// Device memory: what is estimated and taken, and what happens where it does not suffice.
#include <faiss_flash/core/pieces.h>
#include <faiss_flash/cuda/centroids.h>
#include <faiss_flash/cuda/runtime/pool.h>
#include <faiss_flash/cuda/worker.h>
#include <faiss_flash/kmeans.h>

#include <cuda/device_data.h>
#include <support/data.h>

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <numeric>

namespace faiss_flash {
namespace {

using test::Floats;

int64_t pool_attribute(cudaMemPoolAttr attribute) {
    uint64_t value = 0;
    cuda::check(cudaMemPoolGetAttribute(cuda::memory_pool(), attribute, &value), "the pool");
    return static_cast<int64_t>(value);
}

struct Memory : testing::Test {
    void SetUp() override {
        if (available_backends().front() == "cpu") {
            GTEST_SKIP() << "no CUDA device";
        }
    }
    void TearDown() override {
        if (!IsSkipped()) {
            EXPECT_EQ(pool_attribute(cudaMemPoolAttrUsedMemCurrent), 0) << "left behind";
        }
    }
};

KMeansOptions all_points(int niter) {
    KMeansOptions options;
    options.device = "cuda";
    options.niter = niter;
    options.max_points_per_centroid = -1;
    options.early_stop_threshold.reset();
    return options;
}

/// Takes all device memory but about `left` bytes.
test::DevicePointer take_all_but(size_t left) {
    cuda::check(cudaMemPoolTrimTo(cuda::memory_pool(), 0), "what the engine keeps");
    size_t free = 0;
    size_t total = 0;
    cuda::check(cudaMemGetInfo(&free, &total), "memory");
    void* data = nullptr;
    if (free > left) {
        cuda::check(cudaMalloc(&data, free - left), "taking most memory");
    }
    return test::DevicePointer(data);
}

struct Shape {
    const char* name;
    int64_t batch, n, d, k;
    DType dtype;
    Precision precision;
};

/// The estimate holds what a run takes, and not much more.
TEST_F(Memory, EstimatesAreWhatRunsTake) {
    for (const Shape& shape : {
                 Shape{"plain", 1, 200000, 128, 1000, DType::f32, Precision::exact},
                 Shape{"few long rows", 1, 32768, 4096, 100, DType::f32, Precision::exact},
                 Shape{"many clusters", 1, 60000, 64, 20000, DType::f32, Precision::exact},
                 Shape{"short rows", 32, 65536, 4, 256, DType::f32, Precision::exact},
                 Shape{"fast", 1, 300000, 96, 500, DType::u8, Precision::fast},
                 Shape{"fast problems", 500, 512, 64, 16, DType::u8, Precision::fast},
                 Shape{"small", 1, 3000, 16, 20, DType::f32, Precision::exact},
         }) {
        SCOPED_TRACE(shape.name);
        const int64_t values = shape.n * shape.d;
        std::vector<uint8_t> bytes(static_cast<size_t>(values) * 4);
        const Floats some = test::descriptors(4099, 1, 3);
        for (int64_t i = 0; i < values; i++) {
            const float value = some[static_cast<size_t>(i * i % 4099)];
            if (shape.dtype == DType::u8) {
                bytes[static_cast<size_t>(i)] = static_cast<uint8_t>(value);
            } else {
                reinterpret_cast<float*>(bytes.data())[i] = value + 0.1f; // two limbs
            }
        }
        KMeansInput input;
        input.points.data = bytes.data();
        input.points.n = shape.n;
        input.points.d = shape.d;
        input.points.dtype = shape.dtype;
        const std::vector<KMeansInput> inputs(static_cast<size_t>(shape.batch), input);
        KMeansOptions options = all_points(2);
        options.device = "cuda";
        options.precision = shape.precision;
        const Estimate expected =
                estimate(shape.n, shape.d, shape.k, options, shape.dtype, shape.batch);
        EXPECT_EQ(expected.device, "cuda:0");
        uint64_t reset = 0;
        cuda::check(
                cudaMemPoolSetAttribute(cuda::memory_pool(), cudaMemPoolAttrUsedMemHigh, &reset),
                "the pool");
        batch_kmeans(inputs, shape.k, options);
        const auto taken = static_cast<double>(pool_attribute(cudaMemPoolAttrUsedMemHigh));
        const auto estimated = static_cast<double>(expected.device_bytes);
        EXPECT_GE(estimated, taken);
        EXPECT_LE(estimated, 1.3 * taken + (8 << 20));
    }
}

/// What is counted is what the pool gives, for every method and however many limbs; and nothing is
/// taken once iterations run.
TEST_F(Memory, CountedBytesAreTaken) {
    struct Run {
        const char* name;
        int64_t batch, n, d, k;
        bool weighted;
        DType dtype;
        Precision precision;
        Metric metric;
        float smallest; ///< a value among others near 1
    };
    constexpr Precision kExact = Precision::exact;
    for (const Run& run : {
                 Run{"exact", 1, 70000, 96, 600, false, DType::f32, kExact, Metric::l2, 1},
                 Run{"many limbs",
                     1,
                     50000,
                     64,
                     300,
                     false,
                     DType::f32,
                     kExact,
                     Metric::l2,
                     1e-30f},
                 Run{"products",
                     1,
                     60000,
                     24,
                     99,
                     true,
                     DType::f32,
                     kExact,
                     Metric::inner_product,
                     1},
                 Run{"batch", 3, 30000, 72, 64, false, DType::f32, kExact, Metric::l2, 1},
                 Run{"direct", 40, 40000, 8, 256, false, DType::f32, kExact, Metric::l2, 1},
                 Run{"fast", 2, 90000, 104, 200, false, DType::f16, Precision::fast, Metric::l2, 1},
         }) {
        SCOPED_TRACE(run.name);
        Floats x = test::normal(run.batch * run.n, run.d, 1);
        x[7] = run.smallest;
        std::vector<uint16_t> halves(x.size());
        for (size_t i = 0; i < x.size(); i++) {
            halves[i] = test::bits(x[i], false);
        }
        const Floats weights(static_cast<size_t>(run.n), 0.3f);
        const bool half = run.dtype == DType::f16;
        const auto rows = half ? test::to_device(halves.data(), halves.size() * 2)
                               : test::to_device(x.data(), x.size() * 4); // nothing to upload
        const int64_t row_bytes = run.d * dtype_size(run.dtype);
        std::vector<Problem> problems;
        for (int64_t b = 0; b < run.batch; b++) {
            VectorView view = VectorView::of(nullptr, run.n, run.d);
            view.dtype = run.dtype;
            view.space = MemorySpace::device;
            view.data = static_cast<const uint8_t*>(rows.get()) + b * run.n * row_bytes;
            problems.push_back({Points(view), run.weighted ? weights.data() : nullptr});
        }
        KMeansOptions options;
        options.precision = run.precision;
        options.metric = run.metric;
        const VectorView& view = problems.front().points.view();
        const Workload workload = workload_of(view, run.weighted, run.batch, run.n, run.k, options);
        const Backend& backend = backend_for(VectorView(), "cuda");
        Format format;
        { // of a shard of its own
            const auto worker = backend.start(workload);
            const Worker::Here here(*worker);
            format = Format::plan(worker->open(problems)->scan(), workload);
        }
        const int64_t counted = cuda::device_bytes(workload, &format);
        uint64_t reset = 0;
        cuda::check(
                cudaMemPoolSetAttribute(cuda::memory_pool(), cudaMemPoolAttrUsedMemHigh, &reset),
                "the pool");
        {
            Pieces pieces(backend, problems, workload, {});
            EXPECT_EQ(pool_attribute(cudaMemPoolAttrUsedMemCurrent), counted);
            std::vector<int64_t> seeds(static_cast<size_t>(run.k));
            std::iota(seeds.begin(), seeds.end(), 0);
            pieces.load({nullptr, 0, false, seeds}, {});
            constexpr int kIterations = cuda::kFirstReplayed + 4; // replayed in the end
            for (int iteration = 0; iteration < kIterations; iteration++) {
                pieces.ask(kIterations);
                pieces.wait();
                EXPECT_EQ(pool_attribute(cudaMemPoolAttrUsedMemCurrent), counted) << iteration;
            }
        }
        EXPECT_EQ(pool_attribute(cudaMemPoolAttrUsedMemHigh), counted);
    }
}

/// Points that leave no room for the work on them: an error that says how much was wanted and is
/// free, and the device works on. Points of the host are clustered there.
TEST_F(Memory, NoRoomForTheWork) {
    const Floats x = test::normal(300000, 64, 1);
    KMeansInput on_host;
    on_host.points = VectorView::of(x.data(), 300000, 64);
    KMeansOptions options = all_points(2);
    options.device = "cpu";
    options.return_assignment = true;
    const auto expected = kmeans(on_host, 50, options);
    options.device = "cuda";
    const auto rows = test::to_device(x.data(), x.size() * 4);
    KMeansInput on_device = on_host;
    on_device.points.data = rows.get();
    on_device.points.space = MemorySpace::device;
    std::vector<int64_t> ids(300000);
    const VectorView table = VectorView::of(x.data(), 50, 64);
    { // for iterations, but not for the assignment beside them
        const auto bytes = static_cast<size_t>(estimate(300000, 64, 50, options).device_bytes);
        const auto most = take_all_but(bytes + (size_t{20} << 20));
        const auto result = kmeans(on_host, 50, options);
        EXPECT_EQ(result.centroids, expected.centroids);
        EXPECT_EQ(result.assignment, expected.assignment);
        EXPECT_EQ(result.distances, expected.distances);
    }
    {
        const auto everything = take_all_but(size_t{40} << 20);
        int told = 0;
        options.callback = [&](const IterationStats&, double) {
            told++;
            return true;
        };
        const auto result = kmeans(on_host, 50, options);
        EXPECT_EQ(result.centroids, expected.centroids);
        EXPECT_EQ(result.assignment, expected.assignment);
        EXPECT_EQ(told, 2);
        try {
            kmeans(on_device, 50, options);
            ADD_FAILURE() << "had room";
        } catch (const OutOfDeviceMemory& error) {
            const std::string text = error.what();
            EXPECT_NE(text.find("wanted "), std::string::npos) << text;
            EXPECT_NE(text.find(" free"), std::string::npos) << text;
        }
        EXPECT_THROW(
                assign(on_device.points, table, Metric::l2, ids.data(), nullptr, "cuda"),
                OutOfDeviceMemory);
        assign(on_host.points, table, Metric::l2, ids.data(), nullptr, "cuda");
    }
    EXPECT_EQ(kmeans(on_device, 50, options).centroids, expected.centroids);
}

/// Sums of many limbs take more than is estimated before the points have been looked at.
TEST_F(Memory, NoRoomForManyLimbs) {
    constexpr int64_t kPoints = 20000;
    constexpr int64_t kColumns = 128;
    constexpr int64_t kClusters = 4000;
    Floats x = test::normal(kPoints, kColumns, 1);
    x[1000 * kColumns] = 1e-37f;
    x[2000 * kColumns] = 1e37f;
    KMeansInput input;
    input.points = VectorView::of(x.data(), kPoints, kColumns);
    KMeansOptions options = all_points(1);
    options.device = "cpu";
    const auto expected = kmeans(input, kClusters, options);
    options.device = "cuda";
    const Estimate two_limbs = estimate(kPoints, kColumns, kClusters, options);
    {
        const auto everything =
                take_all_but(static_cast<size_t>(two_limbs.device_bytes) + (size_t{20} << 20));
        EXPECT_EQ(kmeans(input, kClusters, options).centroids, expected.centroids);
    }
    EXPECT_EQ(kmeans(input, kClusters, options).centroids, expected.centroids);
}

/// A device whose memory others have taken: "auto" goes to the CPU.
TEST_F(Memory, NoContextOnAFullDevice) {
    const auto everything = take_all_but(size_t{20} << 20);
    char program[4096];
    const ssize_t length = readlink("/proc/self/exe", program, sizeof program - 1);
    ASSERT_GT(length, 0);
    program[length] = 0;
    for (const char* device : {"auto", "cuda"}) {
        const pid_t child = fork();
        ASSERT_GE(child, 0);
        if (child == 0) { // a process of its own: the driver does not survive a fork
            setenv("FAISS_FLASH_TEST_CHILD", device, 1);
            execl(program, program, "--gtest_filter=MemoryChild.*", nullptr);
            std::_Exit(127);
        }
        int status = -1;
        ASSERT_EQ(waitpid(child, &status, 0), child);
        EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << device << " " << status;
    }
}

/// Run by the test above on a full device, and not otherwise.
TEST(MemoryChild, Clusters) {
    const char* device = std::getenv("FAISS_FLASH_TEST_CHILD");
    if (!device) {
        GTEST_SKIP() << "is run by Memory.NoContextOnAFullDevice";
    }
    const Floats x = test::normal(4000, 16, 1);
    KMeansInput input;
    input.points = VectorView::of(x.data(), 4000, 16);
    KMeansOptions options = all_points(3);
    options.device = device;
    EXPECT_EQ(kmeans(input, 20, options).iterations.size(), 3u);
    std::vector<int64_t> ids(4000);
    assign(input.points, VectorView::of(x.data(), 20, 16), Metric::l2, ids.data(), nullptr, device);
}

/// A limit is obeyed by what the pool gives out, and what does not fit runs on the CPU.
TEST_F(Memory, ALimitIsObeyed) {
    constexpr int64_t kPoints = 200000;
    constexpr int64_t kColumns = 64;
    constexpr int64_t kClusters = 100;
    const Floats x = test::normal(kPoints, kColumns, 17);
    KMeansInput input;
    input.points = VectorView::of(x.data(), kPoints, kColumns);
    KMeansOptions options = all_points(3);
    options.return_assignment = true;
    const auto expected = kmeans(input, kClusters, options);
    const int64_t all = estimate(kPoints, kColumns, kClusters, options).device_bytes;
    options.verbose = true;
    constexpr int64_t kMiB = 1 << 20;
    for (const int64_t limit : {kMiB, 64 * kMiB, all + kMiB, 1024 * kMiB}) {
        SCOPED_TRACE(limit);
        uint64_t none = 0;
        cuda::check(
                cudaMemPoolSetAttribute(cuda::memory_pool(), cudaMemPoolAttrUsedMemHigh, &none),
                "the pool");
        options.memory_limit = limit;
        testing::internal::CaptureStdout();
        const auto result = kmeans(input, kClusters, options);
        const std::string told = testing::internal::GetCapturedStdout();
        const bool fell = told.find("cannot hold it") != std::string::npos;
        EXPECT_EQ(fell, limit < all) << told;
        EXPECT_LE(pool_attribute(cudaMemPoolAttrUsedMemHigh), limit);
        EXPECT_EQ(result.centroids, expected.centroids);
        EXPECT_EQ(result.assignment, expected.assignment);
    }
    const auto rows = test::to_device(x.data(), x.size() * 4);
    input.points.data = rows.get();
    input.points.space = MemorySpace::device;
    options.memory_limit = kMiB;
    EXPECT_THROW(kmeans(input, kClusters, options), OutOfDeviceMemory);
    options.memory_limit = -1;
    EXPECT_THROW(kmeans(input, kClusters, options), InvalidArgument);
}

/// Rows that stay in place cost what the limit of their kind says.
TEST_F(Memory, RowsInPlaceTakeLittleMore) {
    for (const DType dtype : {DType::f32, DType::f16, DType::u8}) {
        VectorView rows;
        rows.d = 128;
        rows.dtype = dtype;
        rows.space = MemorySpace::device;
        constexpr int64_t kPoints = 8 << 20;
        const Workload workload = workload_of(rows, false, 1, kPoints, 1024, all_points(2));
        EXPECT_LE(cuda::device_bytes(workload), 300 * kPoints);
    }
}

} // namespace
} // namespace faiss_flash
