/// Rows on the device: any type, any place, and streams that make them.
#include <faiss_flash/core/points.h>
#include <faiss_flash/cuda/worker.h>
#include <faiss_flash/kmeans.h>

#include <cuda/device_data.h>
#include <support/data.h>

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <thread>

namespace faiss_flash {
namespace {

using test::Floats;

struct RowsOnDevice : testing::Test {
    void SetUp() override {
        if (available_backends().front() == "cpu") {
            GTEST_SKIP() << "no CUDA device";
        }
    }
};

KMeansOptions on(const char* device) {
    KMeansOptions options;
    options.device = device;
    options.niter = 4;
    options.min_points_per_centroid = 1;
    options.early_stop_threshold.reset();
    return options;
}

/// n rows, row_stride bytes apart from byte `offset` on.
std::vector<uint8_t> bytes_of_rows(
        DType dtype, int64_t n, int64_t d, int64_t row_stride, int64_t offset) {
    const Floats values = test::normal(n, d, 7, 20, 30);
    const int64_t size = dtype_size(dtype);
    std::vector<uint8_t> bytes(static_cast<size_t>(offset + n * row_stride), 0xFF);
    for (int64_t i = 0; i < n; i++) {
        for (int64_t j = 0; j < d; j++) {
            const float value = values[static_cast<size_t>(i * d + j)];
            const uint16_t half = test::bits(value, dtype == DType::bf16);
            const auto u8 = static_cast<uint8_t>(std::max(0.0f, std::min(255.0f, value)));
            const auto i8 = static_cast<int8_t>(std::max(-128.0f, std::min(127.0f, value)));
            const void* from = dtype == DType::f32  ? static_cast<const void*>(&value)
                               : dtype == DType::u8 ? static_cast<const void*>(&u8)
                               : dtype == DType::i8 ? static_cast<const void*>(&i8)
                                                    : static_cast<const void*>(&half);
            std::memcpy(
                    bytes.data() + offset + i * row_stride + j * size,
                    from,
                    static_cast<size_t>(size));
        }
    }
    return bytes;
}

struct Place {
    const char* name;
    int64_t gap;    ///< bytes between rows
    int64_t offset; ///< of the first, in bytes
    int64_t most;   ///< points of a centroid: fewer are sampled
};

/// What is read where it lies, what is packed first, and what is sampled.
TEST_F(RowsOnDevice, OfAnyTypeAndPlaceAreClusteredAsOnTheCpu) {
    constexpr int64_t kRows = 5003;
    constexpr int64_t kClusters = 17;
    for (const DType dtype : {DType::f32, DType::f16, DType::bf16, DType::u8, DType::i8}) {
        for (const int64_t d : {48, 37, 3}) {
            for (const Place& place : {
                         Place{"packed", 0, 0, -1},
                         Place{"apart", 32, 0, -1},
                         Place{"misaligned", 4, 4, -1},
                         Place{"sampled", 0, 0, 100},
                 }) {
                SCOPED_TRACE(place.name);
                SCOPED_TRACE("dtype " + std::to_string(static_cast<int>(dtype)));
                SCOPED_TRACE("d " + std::to_string(d));
                const int64_t size = dtype_size(dtype);
                const int64_t stride = d * size + place.gap;
                const auto bytes = bytes_of_rows(dtype, kRows, d, stride, place.offset);
                const auto copy = test::to_device(bytes.data(), bytes.size());
                KMeansInput host;
                host.points.data = bytes.data() + place.offset;
                host.points.n = kRows;
                host.points.d = d;
                host.points.dtype = dtype;
                host.points.row_stride = stride;
                KMeansInput device = host;
                device.points.data = static_cast<const uint8_t*>(copy.get()) + place.offset;
                device.points.space = MemorySpace::device;
                KMeansOptions options = on("cuda");
                options.max_points_per_centroid = place.most;
                options.return_assignment = true;
                const auto result = kmeans(device, kClusters, options);
                const auto uploaded = kmeans(host, kClusters, options);
                options.device = "cpu";
                const auto expected = kmeans(host, kClusters, options);
                for (const auto* one : {&result, &uploaded}) {
                    EXPECT_EQ(one->centroids, expected.centroids);
                    EXPECT_EQ(one->assignment, expected.assignment);
                    EXPECT_EQ(one->distances, expected.distances);
                    EXPECT_EQ(
                            one->iterations.back().objective, expected.iterations.back().objective);
                }
            }
        }
    }
}

/// A value that is not finite is found by the scan, and named by its place.
TEST_F(RowsOnDevice, ThatAreNotFiniteAreNamed) {
    constexpr int64_t kRows = 4000;
    for (const float bad : {NAN, INFINITY, -INFINITY}) {
        for (const int64_t d : {32, 33}) {
            Floats x = test::normal(kRows, d, 3);
            x[static_cast<size_t>(3999 * d + 31)] = bad;
            const auto copy = test::to_device(x.data(), x.size() * 4);
            KMeansInput input;
            input.points = VectorView::of(x.data(), kRows, d);
            KMeansInput device = input;
            device.points.data = copy.get();
            device.points.space = MemorySpace::device;
            for (const auto& one : {input, device}) {
                try {
                    kmeans(one, 10, on("cuda"));
                    ADD_FAILURE() << "no exception";
                } catch (const InvalidArgument& error) {
                    EXPECT_NE(std::string(error.what()).find("points[3999][31]"), std::string::npos)
                            << error.what();
                }
            }
        }
    }
}

/// Work of a stream that goes on until it is told to end, or until nobody can be there to do so.
struct Work {
    std::atomic<bool> may_end{false};
    std::atomic<bool> gave_up{false};

    static void run(void* self) {
        auto* work = static_cast<Work*>(self);
        const auto start = std::chrono::steady_clock::now();
        while (!work->may_end && !work->gave_up) {
            std::this_thread::yield();
            work->gave_up = std::chrono::steady_clock::now() - start > std::chrono::seconds(20);
        }
    }
};

/// Work of the stream that makes the rows is waited for; other work is not.
TEST_F(RowsOnDevice, AreTakenFromTheirStream) {
    constexpr int64_t kRows = 2000;
    constexpr int64_t kColumns = 16;
    const Floats early(kRows * kColumns, 1);
    const Floats late = test::normal(kRows, kColumns, 5);
    const auto rows = test::to_device(early.data(), early.size() * 4);
    const auto made = test::to_device(late.data(), late.size() * 4);
    KMeansInput input;
    input.points = VectorView::of(static_cast<const float*>(rows.get()), kRows, kColumns);
    input.points.space = MemorySpace::device;
    KMeansInput host;
    host.points = VectorView::of(late.data(), kRows, kColumns);
    const auto expected = kmeans(host, 10, on("cuda")); // the first call may wait for the device
    cudaStream_t making = nullptr;
    cudaStream_t other = nullptr;
    cuda::check(cudaStreamCreateWithFlags(&making, cudaStreamNonBlocking), "a stream");
    cuda::check(cudaStreamCreateWithFlags(&other, cudaStreamNonBlocking), "a stream");
    Work soon;
    Work after;
    cuda::check(cudaLaunchHostFunc(making, Work::run, &soon), "work");
    cuda::check(
            cudaMemcpyAsync(
                    rows.get(), made.get(), late.size() * 4, cudaMemcpyDeviceToDevice, making),
            "the points");
    cuda::check(cudaLaunchHostFunc(other, Work::run, &after), "work");
    input.points.stream = making;
    std::thread releases([&] {
        std::this_thread::sleep_for(std::chrono::milliseconds(50));
        soon.may_end = true;
    });
    EXPECT_EQ(kmeans(input, 10, on("cuda")).centroids, expected.centroids);
    EXPECT_FALSE(after.gave_up) << "waited for the whole device";
    after.may_end = true;
    releases.join();
    cuda::check(cudaDeviceSynchronize(), "work");
    cudaStreamDestroy(making);
    cudaStreamDestroy(other);
}

/// Codes of a byte a column; counts the rows.
struct CountingDecoder final : RowDecoder {
    explicit CountingDecoder(int64_t columns) : d(columns) {}
    void decode(int64_t n, const uint8_t* codes, float* out) const override {
        rows += n;
        for (int64_t i = 0; i < n * d; i++) {
            out[i] = 0.3f * static_cast<float>(codes[i]);
        }
    }
    const int64_t d;
    mutable std::atomic<int64_t> rows{0};
};

/// Rows of the host come to the device once, also where they are assigned in the end, unless there
/// is no room for that beside all else.
TEST_F(RowsOnDevice, ComeThereOnce) {
    constexpr int64_t kRows = 60000;
    constexpr int64_t kColumns = 64;
    constexpr int64_t kClusters = 100;
    const Floats x = test::descriptors(kRows, kColumns, 5);
    const std::vector<uint8_t> codes(x.begin(), x.end());
    const CountingDecoder decoder(kColumns);
    KMeansInput input;
    input.points.data = codes.data();
    input.points.n = kRows;
    input.points.d = input.points.row_stride = kColumns;
    input.points.decoder = &decoder;
    KMeansOptions options = on("cuda");
    options.nredo = 2;
    options.max_points_per_centroid = -1;
    options.return_assignment = true;
    options.device = "cpu";
    const auto expected = kmeans(input, kClusters, options);
    options.device = "cuda";
    const Workload workload{
            1, kRows, kColumns, kClusters, Metric::l2, DType::f32, Precision::exact, false, true};
    const int64_t all = cuda::device_bytes(workload);
    struct Case {
        const char* name;
        int64_t limit, decoded;
    };
    for (const Case& one : {
                 Case{"no limit", 0, kRows},
                 Case{"room for both", 3 * all, kRows},
                 Case{"room for one", all + (1 << 20), 2 * kRows},
         }) {
        SCOPED_TRACE(one.name);
        options.memory_limit = one.limit;
        decoder.rows = 0;
        const auto result = kmeans(input, kClusters, options);
        EXPECT_EQ(decoder.rows, one.decoded);
        EXPECT_EQ(result.centroids, expected.centroids);
        EXPECT_EQ(result.assignment, expected.assignment);
        EXPECT_EQ(result.distances, expected.distances);
    }
}

} // namespace
} // namespace faiss_flash
