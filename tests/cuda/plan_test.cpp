/// The cost model, on a described device: no device is needed.
#include <faiss_flash/cuda/assign/candidate_lists.h>
#include <faiss_flash/cuda/assign/plan.h>
#include <faiss_flash/cuda/assign/tile_config.h>

#include <gtest/gtest.h>

namespace faiss_flash::cuda {
namespace {

DeviceInfo hopper() {
    DeviceInfo device;
    device.major = 9;
    device.multiprocessors = 132;
    device.shared_bytes = 232448;
    device.l2_bytes = 60 << 20;
    device.clock = 1.98e9;
    device.bandwidth = 4.8e12;
    return device;
}

DeviceInfo ampere() {
    DeviceInfo device = hopper();
    device.major = 8;
    device.multiprocessors = 108;
    device.shared_bytes = 166912;
    device.clock = 1.41e9;
    device.bandwidth = 2.0e12;
    return device;
}

TEST(Plan, TakesWhatTheDeviceAndTheRowsAllow) {
    EXPECT_EQ(
            choose_plan({1, 1 << 20, 8192, 128, true, 16}, hopper()).kernel,
            AssignKernel::resident);
    EXPECT_EQ(
            choose_plan({1, 1 << 20, 8192, 768, true, 16}, hopper()).kernel,
            AssignKernel::streamed);
    EXPECT_EQ(choose_plan({1, 1 << 20, 8192, 32, true, 16}, hopper()).kernel, AssignKernel::narrow);
    EXPECT_EQ(
            choose_plan({1, 1 << 20, 8192, 128, true, 2}, hopper()).kernel, AssignKernel::generic);
    EXPECT_EQ(
            choose_plan({1, 1 << 20, 8192, 128, true, 16}, ampere()).kernel, AssignKernel::generic);
    for (const AssignPlan& plan : assign_plans({1, 5000, 300, 16, true, 16, false}, hopper())) {
        EXPECT_NE(plan.kernel, AssignKernel::narrow) << "needs folded biases";
    }
}

TEST(Plan, SplitsCentroidsWherePointsAreFew) {
    EXPECT_GT(choose_plan({1, 37, 50000, 128, true, 16}, hopper()).splits, 10);
    EXPECT_EQ(choose_plan({1, 1 << 20, 50000, 128, true, 16}, hopper()).splits, 1);
}

/// Every part has centroids, whatever the sizes.
TEST(Plan, NoSplitIsEmpty) {
    for (const int64_t k : {1, 127, 129, 1000, 4097, 70000}) {
        for (const int64_t n : {1, 300, 5000}) {
            for (const AssignPlan& plan : assign_plans({1, n, k, 100, true, 16}, hopper())) {
                for (const int64_t tile : {128, 256}) {
                    const int64_t tiles = (k + tile - 1) / tile;
                    if (plan.splits <= tiles &&
                        (tile == 256) == (plan.kernel == AssignKernel::streamed)) {
                        EXPECT_LT((plan.splits - 1) * tiles_per_split(tiles, plan.splits), tiles);
                    }
                }
            }
        }
    }
}

/// The filter pass has no piece of work without centroids, and tiles that its lists hold.
TEST(Plan, FilterPassesHaveWorkForAllParts) {
    for (const DeviceInfo& device : {hopper(), ampere()}) {
        for (const int64_t d : {16, 128, 300}) {
            for (const int64_t k : {1, 1023, 1025, 2100, 3073, 4097, 9000, 70000}) {
                for (const int64_t n : {1000, 1000000}) {
                    const AssignPlan plan = filter_plan(n, k, d, d <= 32, device);
                    const bool streamed = plan.kernel == AssignKernel::streamed;
                    const int64_t centroids =
                            streamed ? StreamedTile::kCentroids : GenericTile::kCentroids;
                    const int64_t tiles = (k + centroids - 1) / centroids;
                    EXPECT_LT((plan.splits - 1) * tiles_per_split(tiles, plan.splits), tiles) << k;
                    EXPECT_LE(plan.splits, kMostFilterSplits);
                    EXPECT_LE(lists_of(plan.kernel), kMostLists);
                }
            }
        }
    }
    for (const int points :
         {NarrowTile<1>::kPoints,
          ResidentTile<8>::kPoints,
          StreamedTile::kPoints,
          GenericTile::kPoints}) {
        EXPECT_EQ(kCandidateRows % points, 0);
    }
}

} // namespace
} // namespace faiss_flash::cuda
