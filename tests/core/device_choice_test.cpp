/// What "auto" is, by the model alone: no time is measured.
#include <faiss_flash/core/device_choice.h>

#include <support/data.h>

#include <gtest/gtest.h>

#include <cstdlib>

namespace faiss_flash {
namespace {

Workload workload(int64_t n, int64_t k, int64_t d) {
    return {1, n, d, k, Metric::l2, DType::f32, Precision::exact, false, false};
}

TEST(FirstUse, PaysWhereOneCallSavesAsMuch) {
    const FirstUse use(0.3);
    EXPECT_TRUE(use.pays(0.31));
    EXPECT_FALSE(use.pays(0.29));
}

TEST(FirstUse, PaysAfterManyCalls) {
    FirstUse use(0.3);
    int calls = 0;
    for (; !use.pays(0.1); calls++) {
        use.lose(0.1);
    }
    EXPECT_EQ(calls, 2);
}

TEST(DeviceChoice, SecondsGrowWithTheWork) {
    const Backend& host = host_backend();
    const double one = host.seconds(workload(10000, 100, 64), 10);
    EXPECT_GT(one, 0);
    EXPECT_GT(host.seconds(workload(20000, 100, 64), 10), one);
    EXPECT_GT(host.seconds(workload(10000, 200, 64), 10), one);
    EXPECT_GT(host.seconds(workload(10000, 100, 128), 10), one);
    EXPECT_DOUBLE_EQ(host.seconds(workload(10000, 100, 64), 20), 2 * one);
}

/// 300 points are done before a GPU has got them; nobody has said where.
TEST(DeviceChoice, FewPointsStayOnTheHost) {
    const VectorView few;
    EXPECT_EQ(&expected_backend(few, workload(300, 10, 16), 10, "auto"), &host_backend());
    EXPECT_EQ(&fastest_backend(few, workload(300, 10, 16), 10, "auto"), &host_backend());
}

TEST(DeviceChoice, ANameRules) {
    EXPECT_EQ(&expected_backend(VectorView(), workload(300, 10, 16), 10, "cpu"), &host_backend());
    EXPECT_THROW(expected_backend(VectorView(), workload(300, 10, 16), 10, "tpu"), InvalidArgument);
}

/// Rows on a device stay there, fast results are a GPU's own, and so is what the user wants.
TEST(DeviceChoice, IsByTimeWhereResultsAreTheSame) {
    const char* before = std::getenv("FAISS_FLASH_DEVICE");
    if (before) {
        GTEST_SKIP() << "FAISS_FLASH_DEVICE=" << before;
    }
    VectorView points;
    EXPECT_TRUE(chooses_by_time(points, Precision::exact, "auto"));
    EXPECT_FALSE(chooses_by_time(points, Precision::fast, "auto"));
    EXPECT_FALSE(chooses_by_time(points, Precision::exact, "cpu"));
    points.space = MemorySpace::device;
    EXPECT_FALSE(chooses_by_time(points, Precision::exact, "auto"));
    points.space = MemorySpace::pinned;
    EXPECT_TRUE(chooses_by_time(points, Precision::exact, "auto"));
    setenv("FAISS_FLASH_DEVICE", "cpu", 1);
    EXPECT_FALSE(chooses_by_time(points, Precision::exact, "auto"));
    unsetenv("FAISS_FLASH_DEVICE");
}

} // namespace
} // namespace faiss_flash
