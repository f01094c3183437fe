/// Shapes of the assignment kernels' tiles, and the shared memory they take. Plain C++.
#pragma once

namespace faiss_flash::cuda {

/// d up to which biases are folded into the product (sm90/folded_bias.cuh).
inline constexpr int kMostFoldedColumns = 32;

/// d up to which the points of a block stay on the multiprocessor.
inline constexpr int kMostResidentColumns = 256;

/// A block's shared memory on Hopper, and what barriers and alignment take of it.
inline constexpr int kSm90SharedLimit = 227 * 1024;
inline constexpr int kSm90Reserved = 2048;

/// Hopper, d <= 32: a block owns 256 points, in the registers of four warpgroups; centroids come
/// with their biases in tiles of 128, prepared as sm90/folded_bias.cuh says. kSteps: columns of a
/// row by 16, one wgmma's.
template <int kSteps>
struct NarrowTile {
    static constexpr int kConsumers = 4;
    static constexpr int kWarpgroupPoints = 64;
    static constexpr int kPoints = kConsumers * kWarpgroupPoints; ///< a block's
    static constexpr int kCentroids = 128;
    static constexpr int kStepColumns = 16;
    static constexpr int kColumns = kSteps * kStepColumns;
    static constexpr int kThreads = 128 * (1 + kConsumers);
    static constexpr int kProducerRegisters = 32;
    static constexpr int kConsumerRegisters = 112;
    static constexpr int kPointSliceBytes = kWarpgroupPoints * kColumns * 2; // a warpgroup's
    /// Where a piece of work is short, its points must come early.
    static constexpr int kPointStages = 4;
    static constexpr int kStageBytes = kCentroids * (kColumns * 2 + 32);
    static constexpr int kSavedScores = 16; // a thread's
    static constexpr int kSavedBytes = kSavedScores * 4 * 128 * kConsumers;
    static constexpr int kStages = 8;
    static constexpr int kSharedBytes = kSm90Reserved + kSavedBytes +
                                        kPointStages * kConsumers * kPointSliceBytes +
                                        kStages * kStageBytes;
};

/// Hopper, 32 < d <= 256: a block owns 256 points, resident for the sweep over the centroids, which
/// stream through in tiles of 128. The points are shared out among consumer warpgroups.
/// kSteps: columns of a row by 16, one wgmma's.
template <int kSteps>
struct ResidentTile {
    static constexpr int kPoints = 256;    ///< a block's
    static constexpr int kCentroids = 128; ///< a centroid tile's
    static constexpr int kStepColumns = 16;
    static constexpr int kColumns = kSteps * kStepColumns;
    /// Columns of an operand tile; its rows are as wide as the swizzle.
    static constexpr int kSliceColumns = 64;
    static constexpr int kSlices = (kColumns + kSliceColumns - 1) / kSliceColumns;
    static constexpr int kSliceSteps = kSliceColumns / kStepColumns;

    /// Few columns: the epilogue is the limit, and four warps a scheduler hide its latency. Many:
    /// two warpgroups of twice the rows take turns on the tensor cores and read B half as often.
    static constexpr int kConsumers = kSteps <= 4 ? 4 : 2;
    static constexpr int kRowBlocks = kPoints / 64 / kConsumers; ///< 64-row products a warpgroup
    static constexpr int kWarpgroupPoints = 64 * kRowBlocks;
    static constexpr bool kTakeTurns = kConsumers == 2;
    static constexpr int kThreads = 128 * (1 + kConsumers);
    static constexpr int kProducerRegisters = kConsumers == 4 ? 32 : 40;
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

    static constexpr int kPointSliceBytes = kWarpgroupPoints * kSliceColumns * 2; // a warpgroup's
    static constexpr int kPointStages = kSteps <= 4 ? 2 : 1;
    static constexpr int kPointBytes = kPointStages * kConsumers * kSlices * kPointSliceBytes;
    static constexpr int kCentroidSliceBytes = kCentroids * kSliceColumns * 2;
    static constexpr int kBiasBytes = kCentroids * 4;
    static constexpr int kStageBytes = kCentroidSliceBytes + kBiasBytes;

    /// Scores that the epilogue keeps in shared memory, 8 a row; 0 = it searches the registers
    /// instead, where the points leave no room.
    static constexpr int kSavedScores = kSteps <= 12 ? 16 * kRowBlocks : 0; // a thread's
    static constexpr int kSavedBytes = kSavedScores * 4 * 128 * kConsumers;
    static constexpr int kFixedBytes = kSm90Reserved + kSavedBytes + kPointBytes;
    static constexpr int kStages = (kSm90SharedLimit - kFixedBytes) / kStageBytes;
    static constexpr int kSharedBytes = kFixedBytes + kStages * kStageBytes;
    static_assert(kStages > kSlices, "more than one centroid tile must be in flight");
};

/// Hopper, any d: 128 points a block against tiles of 256 centroids, both streamed 64 columns at a
/// time.
struct StreamedTile {
    static constexpr int kPoints = 128; ///< a block's
    static constexpr int kCentroids = 256;
    static constexpr int kStepColumns = 16;
    static constexpr int kSliceColumns = 64;
    static constexpr int kSliceSteps = kSliceColumns / kStepColumns;
    static constexpr int kConsumers = 2;
    static constexpr int kThreads = 128 * (1 + kConsumers);
    static constexpr int kProducerRegisters = 40;
    static constexpr int kConsumerRegisters = 232;
    static constexpr int kPointBytes = kPoints * kSliceColumns * 2;
    static constexpr int kCentroidBytes = kCentroids * kSliceColumns * 2;
    static constexpr int kBiasBytes = kCentroids * 4;
    static constexpr int kStageBytes = kPointBytes + kCentroidBytes + kBiasBytes;
    static constexpr int kSavedScores = 16;
    static constexpr int kSavedBytes = kSavedScores * 4 * 128 * kConsumers;
    static constexpr int kFixedBytes = kSm90Reserved + kSavedBytes;
    static constexpr int kStages = (kSm90SharedLimit - kFixedBytes) / kStageBytes;
    static constexpr int kSharedBytes = kFixedBytes + kStages * kStageBytes;
};

/// sm_80 and later, few columns and centroids: all centroids of a problem stay in shared memory, in
/// groups of 32, and every warp takes 32 points at a time.
struct OnchipTile {
    static constexpr int kBlocks = 2; ///< of a multiprocessor
    static constexpr int kThreads = 256;
    static constexpr int kRowBlocks = 2; ///< products of 16 points
    static constexpr int kWarpPoints = 16 * kRowBlocks;
    static constexpr int kPoints = kThreads / 32 * kWarpPoints; ///< a block's at a time
    static constexpr int kCentroids = 32;
    static constexpr int kColumns = 16;
    static constexpr int kOperandBytes = kCentroids * kColumns * 2; ///< of a group
    static constexpr int kGroupBytes = kOperandBytes + kCentroids * 8;
};

/// sm_80 and later, any d and any alignment: points and centroids stream 32 columns at a time.
struct GenericTile {
    static constexpr int kBlocks = 2; ///< of a multiprocessor
    static constexpr int kThreads = 256;
    static constexpr int kPoints = 128;
    static constexpr int kCentroids = 128;
    static constexpr int kSliceColumns = 32;
    static constexpr int kStages = 3;
};

} // namespace faiss_flash::cuda
