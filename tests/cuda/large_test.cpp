/// Sizes that take other paths than small ones: beside the CPU, bit for bit.
#include <faiss_flash/kmeans.h>

#include <cuda/device_data.h>
#include <support/data.h>

#include <gtest/gtest.h>
#include <sys/mman.h>

#include <cstdio>
#include <cstring>
#include <thread>

namespace faiss_flash {
namespace {

using test::Floats;

struct Large : testing::Test {
    void SetUp() override {
        if (available_backends().front() == "cpu") {
            GTEST_SKIP() << "no CUDA device";
        }
    }
};

KMeansOptions some_iterations(int niter, const char* device) {
    KMeansOptions options;
    options.niter = niter;
    options.max_points_per_centroid = -1;
    options.early_stop_threshold.reset();
    options.device = device;
    return options;
}

void expect_same_on_both(const KMeansInput& input, int64_t k, int niter) {
    const auto cuda = kmeans(input, k, some_iterations(niter, "cuda"));
    const auto cpu = kmeans(input, k, some_iterations(niter, "cpu"));
    EXPECT_EQ(cuda.centroids, cpu.centroids);
    ASSERT_EQ(cuda.iterations.size(), cpu.iterations.size());
    for (size_t i = 0; i < cpu.iterations.size(); i++) {
        EXPECT_EQ(cuda.iterations[i].nsplit, cpu.iterations[i].nsplit) << i;
        EXPECT_DOUBLE_EQ(cuda.iterations[i].imbalance_factor, cpu.iterations[i].imbalance_factor);
    }
}

/// Pairs of centroids that 16 bits cannot tell apart leave every point open, more of them than one
/// chunk of what comes after the first pass holds. The direct method takes no rows of that length.
TEST_F(Large, MorePointsStayOpenThanAChunkHolds) {
    constexpr int64_t kPoints = 150000;
    constexpr int64_t kColumns = 260;
    constexpr int64_t kClusters = 64;
    const Floats x = test::normal(kPoints, kColumns, 1);
    Floats centroids = test::normal(kClusters, kColumns, 2);
    for (int64_t c = 1; c < kClusters; c += 2) {
        for (int64_t j = 0; j < kColumns; j++) {
            const auto at = static_cast<size_t>(c * kColumns + j);
            centroids[at] = centroids[at - kColumns] * (1 + (j % 2 == 0 ? 1e-6f : -1e-6f));
        }
    }
    std::vector<std::vector<int64_t>> ids;
    for (const char* device : {"cuda", "cpu"}) {
        ids.emplace_back(kPoints);
        assign(VectorView::of(x.data(), kPoints, kColumns),
               VectorView::of(centroids.data(), kClusters, kColumns),
               Metric::l2,
               ids.back().data(),
               nullptr,
               device);
    }
    EXPECT_EQ(ids[0], ids[1]);
    KMeansInput input;
    input.points = VectorView::of(x.data(), kPoints, kColumns);
    input.initial_centroids = VectorView::of(centroids.data(), kClusters, kColumns);
    const auto result = kmeans(input, kClusters, some_iterations(2, "cuda"));
    EXPECT_GT(result.iterations[0].redone, kPoints / 2);
    expect_same_on_both(input, kClusters, 2);
}

TEST_F(Large, AssignmentsOfMoreThanAChunk) {
    constexpr int64_t kPoints = 1100000;
    constexpr int64_t kColumns = 128;
    const Floats some = test::descriptors(10000, kColumns, 4);
    std::vector<uint8_t> x;
    for (int64_t i = 0; i < kPoints; i += 10000) {
        for (const float value : some) {
            x.push_back(static_cast<uint8_t>(static_cast<int>(value) + i / 10000));
        }
    }
    VectorView rows;
    rows.data = x.data();
    rows.n = kPoints;
    rows.d = kColumns;
    rows.dtype = DType::u8;
    const Floats centroids = test::descriptors(24, kColumns, 5);
    std::vector<std::vector<int64_t>> ids;
    std::vector<Floats> distances;
    for (const char* device : {"cuda", "cpu"}) {
        ids.emplace_back(kPoints);
        distances.emplace_back(kPoints);
        assign(rows,
               VectorView::of(centroids.data(), 24, kColumns),
               Metric::l2,
               ids.back().data(),
               distances.back().data(),
               device);
    }
    EXPECT_EQ(ids[0], ids[1]);
    EXPECT_EQ(distances[0], distances[1]);
}

/// From 2^24 points on they are sorted by larger chunks.
TEST_F(Large, MorePointsThanSmallChunksSort) {
    constexpr int64_t kPoints = (int64_t{1} << 24) + 12345;
    std::vector<uint8_t> x(kPoints * 2);
    uint32_t state = 1;
    for (uint8_t& value : x) {
        state = state * 1664525u + 1013904223u;
        value = static_cast<uint8_t>(state >> 24);
    }
    KMeansInput input;
    input.points.data = x.data();
    input.points.n = kPoints;
    input.points.d = 2;
    input.points.dtype = DType::u8;
    expect_same_on_both(input, 90, 3);
}

/// Page-locked and mapped memory is the host's, too.
TEST_F(Large, PinnedAndMappedRows) {
    constexpr int64_t kPoints = 60000;
    constexpr int64_t kColumns = 33;
    const Floats x = test::normal(kPoints, kColumns, 7);
    const size_t bytes = x.size() * sizeof(float);
    void* pinned = nullptr;
    cuda::check(cudaMallocHost(&pinned, bytes), "page-locked memory");
    std::memcpy(pinned, x.data(), bytes);
    std::FILE* file = std::tmpfile();
    ASSERT_EQ(std::fwrite(x.data(), 1, bytes, file), bytes);
    std::fflush(file);
    void* mapped = mmap(nullptr, bytes, PROT_READ, MAP_PRIVATE, fileno(file), 0);
    ASSERT_NE(mapped, MAP_FAILED);
    KMeansInput input;
    input.points = VectorView::of(x.data(), kPoints, kColumns);
    KMeansOptions options = some_iterations(4, "cuda");
    options.return_assignment = true;
    const auto expected = kmeans(input, 70, options);
    for (const auto& [data, space] :
         {std::pair{pinned, MemorySpace::pinned}, std::pair{mapped, MemorySpace::mapped}}) {
        input.points.data = data;
        input.points.space = space;
        const auto result = kmeans(input, 70, options);
        EXPECT_EQ(result.centroids, expected.centroids);
        EXPECT_EQ(result.assignment, expected.assignment);
        EXPECT_EQ(result.distances, expected.distances);
    }
    munmap(mapped, bytes);
    std::fclose(file);
    cudaFreeHost(pinned);
}

/// As many points as centroids, and integers: nothing else waits for the caller's stream then.
TEST_F(Large, PointsInTheMakingAreWaitedFor) {
    constexpr int64_t kPoints = 1000;
    constexpr int64_t kColumns = 8;
    constexpr size_t kBytes = kPoints * kColumns;
    constexpr size_t kWork = size_t{2} << 30;
    void* busy = nullptr;
    cuda::check(cudaMalloc(&busy, kWork), "work");
    const test::DevicePointer owner(busy);
    const std::vector<uint8_t> zeros(kBytes, 0);
    const std::vector<uint8_t> ones(kBytes, 1);
    const auto rows = test::to_device(zeros.data(), kBytes);
    const auto later = test::to_device(ones.data(), kBytes);
    cudaStream_t stream = nullptr;
    cuda::check(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "a stream");
    KMeansInput input;
    input.points.data = rows.get();
    input.points.n = kPoints;
    input.points.d = kColumns;
    input.points.dtype = DType::u8;
    input.points.space = MemorySpace::device;
    EXPECT_EQ(kmeans(input, kPoints).centroids, Floats(kBytes, 0)); // the first call takes longer
    for (int i = 0; i < 200; i++) {                                 // some 100 ms
        cuda::check(cudaMemsetAsync(busy, i, kWork, stream), "work");
    }
    cuda::check(
            cudaMemcpyAsync(rows.get(), later.get(), kBytes, cudaMemcpyDeviceToDevice, stream),
            "the points");
    EXPECT_EQ(kmeans(input, kPoints).centroids, Floats(kBytes, 1));
    cuda::check(cudaStreamSynchronize(stream), "work");
    cudaStreamDestroy(stream);
}

} // namespace
} // namespace faiss_flash
