/// What the tiles promise, checked without a device.
#include <faiss_flash/cuda/assign/tile_config.h>

#include <gtest/gtest.h>

namespace faiss_flash::cuda {
namespace {

template <int kSteps>
void check_tile() {
    using Tile = Sm90Tile<kSteps>;
    EXPECT_LE(Tile::kSharedBytes, Tile::kSharedLimit);
    EXPECT_EQ(Tile::kConsumers * Tile::kWarpgroupPoints, Tile::kPoints);
    EXPECT_GT(Tile::kStages, Tile::kSlices);
    EXPECT_LE(kSteps * Tile::kStepColumns, Tile::kSlices * Tile::kSliceColumns);
    EXPECT_LE(
            128 * (Tile::kProducerRegisters + Tile::kConsumers * Tile::kConsumerRegisters), 65536);
}

TEST(TileConfig, FitsTheDevice) {
#define FAISS_FLASH_STEPS(steps) check_tile<steps>();
#include <faiss_flash/cuda/assign/sm90/instances.def>
#undef FAISS_FLASH_STEPS
}

} // namespace
} // namespace faiss_flash::cuda
