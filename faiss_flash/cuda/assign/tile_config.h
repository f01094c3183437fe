/// Shapes of the Hopper assignment kernel's tiles, and the shared memory they take. Plain C++.
#pragma once

namespace faiss_flash::cuda {

/// A block owns 256 points, resident in shared memory for the sweep over the centroids, which
/// stream through in tiles of 128. The points are shared out among consumer warpgroups.
/// kSteps: columns of a row by 16, one wgmma's.
template <int kSteps>
struct Sm90Tile {
    static constexpr int kPoints = 256;      ///< a block's
    static constexpr int kCentroids = 128;   ///< a centroid tile's
    static constexpr int kSliceColumns = 64; ///< of one 128-byte swizzled operand tile
    static constexpr int kStepColumns = 16;  ///< of one wgmma
    static constexpr int kSlices = (kSteps + 3) / 4;

    /// Few columns: the epilogue is the limit, and four warps a scheduler hide its latency. Many:
    /// two warpgroups of twice the rows take turns on the tensor cores and read B half as often.
    static constexpr int kConsumers = kSteps <= 4 ? 4 : 2;
    static constexpr int kRowBlocks = kPoints / 64 / kConsumers; ///< 64-row products a warpgroup
    static constexpr int kWarpgroupPoints = 64 * kRowBlocks;
    static constexpr bool kTakeTurns = kConsumers == 2;
    static constexpr int kThreads = 128 * (1 + kConsumers);
    static constexpr int kProducerRegisters = kConsumers == 4 ? 24 : 32;
    static constexpr int kConsumerRegisters = kConsumers == 4 ? 112 : 232;
    /// A launch gets an equal share a thread, in eights; what roles claim must fit in the sum.
    static constexpr int kLaunchRegisters = 65536 / kThreads / 8 * 8;
    static_assert(
            kProducerRegisters + kConsumers * kConsumerRegisters <=
                    (1 + kConsumers) * kLaunchRegisters,
            "setmaxnreg would wait for registers for ever");

    /// Points that fit go to registers for the sweep: shared memory then feeds only the centroids
    /// to the tensor cores, 64 bytes a clock instead of 96, and the next points can arrive at once.
    static constexpr bool kPointsInRegisters = kSteps <= 8;

    static constexpr int kPointSliceBytes = kWarpgroupPoints * kSliceColumns * 2; // of a warpgroup
    static constexpr int kPointBytes = kConsumers * kSlices * kPointSliceBytes;
    static constexpr int kCentroidSliceBytes = kCentroids * kSliceColumns * 2;
    static constexpr int kBiasBytes = kCentroids * 4;
    static constexpr int kStageBytes = kCentroidSliceBytes + kBiasBytes;

    /// Scores that the epilogue keeps in shared memory, 8 a row; 0 = it searches the registers
    /// instead, where the points leave no room.
    static constexpr int kSavedScores = kSteps <= 12 ? 16 * kRowBlocks : 0;
    static constexpr int kSavedBytes = kSavedScores * 4 * 128 * kConsumers;
    static constexpr int kSharedLimit = 227 * 1024;
    static constexpr int kReserved = 2048; // barriers, and up to 1 KiB of alignment
    static constexpr int kFixedBytes = kReserved + kSavedBytes + kPointBytes;
    static constexpr int kStages = (kSharedLimit - kFixedBytes) / kStageBytes;
    static constexpr int kSharedBytes = kFixedBytes + kStages * kStageBytes;
    static_assert(kStages > kSlices, "more than one centroid tile must be in flight");
};

} // namespace faiss_flash::cuda
