/// What the tiles promise, checked without a device.
#include <faiss_flash/cuda/assign/tile_config.h>

#include <gtest/gtest.h>

namespace faiss_flash::cuda {
namespace {

template <int kSteps>
void check_narrow() {
    using Tile = NarrowTile<kSteps>;
    EXPECT_LE(Tile::kSharedBytes, kSm90SharedLimit);
    EXPECT_LE(Tile::kColumns, kMostFoldedColumns);
    EXPECT_LE(
            128 * (Tile::kProducerRegisters + Tile::kConsumers * Tile::kConsumerRegisters), 65536);
}

template <int kSteps>
void check_resident() {
    using Tile = ResidentTile<kSteps>;
    EXPECT_LE(Tile::kSharedBytes, kSm90SharedLimit);
    EXPECT_EQ(Tile::kConsumers * Tile::kWarpgroupPoints, Tile::kPoints);
    EXPECT_GT(Tile::kStages, Tile::kSlices);
    EXPECT_LE(kSteps * Tile::kStepColumns, Tile::kSlices * Tile::kSliceColumns);
    EXPECT_LE(
            128 * (Tile::kProducerRegisters + Tile::kConsumers * Tile::kConsumerRegisters), 65536);
}

TEST(TileConfig, FitsTheDevice) {
#define FAISS_FLASH_NARROW(steps) check_narrow<steps>();
#define FAISS_FLASH_RESIDENT(steps) check_resident<steps>();
#include <faiss_flash/cuda/assign/sm90/instances.def>
#undef FAISS_FLASH_NARROW
#undef FAISS_FLASH_RESIDENT
    EXPECT_LE(StreamedTile::kSharedBytes, kSm90SharedLimit);
    EXPECT_GE(StreamedTile::kStages, 3);
}

} // namespace
} // namespace faiss_flash::cuda
