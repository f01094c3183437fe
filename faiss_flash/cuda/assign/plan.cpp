#include <faiss_flash/cuda/assign/plan.h>
#include <faiss_flash/cuda/assign/tile_config.h>

#include <algorithm>

namespace faiss_flash::cuda {

namespace {

/// Clocks of one multiprocessor (at its highest clock), as a line over the columns that are
/// multiplied. The lines were fitted to the times of bench/tune_gpu, which also shows how well they
/// choose; NOTES.md there has both.
struct Line {
    double fixed, per_column;
    double at(int64_t columns) const { return fixed + per_column * static_cast<double>(columns); }
};

constexpr double kLaunchSeconds = 3e-6;
constexpr double kMergeSeconds = 2e-6;   ///< of the kernel that brings splits together,
constexpr double kSplitSeconds = 1.3e-7; ///< and of each split there

/// What a plan's kernel does at a time, and what that costs.
struct Tile {
    int64_t points = 0;    ///< of a block
    int64_t centroids = 0; ///< of a centroid tile
    int64_t slots = 0;     ///< blocks that run at the same time
    double clocks = 0;     ///< of a tile
    double startup = 0;    ///< of a piece of work besides its tiles
};

constexpr Line kNarrowTile{743, 16.6}, kNarrowStartup{4280, 0};
constexpr Line kResidentTile{845, 15.6}, kResidentStartup{4010, 7.9};
constexpr double kPointsInShared = 1.144; ///< a tile whose points are not in registers,
constexpr double kSearchedStartup = 1130; ///< and that searches most of its first tiles
constexpr Line kStreamedTile{400, 20.6}, kStreamedStartup{2810, 0.72};
constexpr double kStreamedLeast = 2300; ///< a tile's scores take that long to reduce
constexpr Line kOnchipTile{1012, 0}, kOnchipStartup{2180, 0};
constexpr Line kGenericTile{2480, 44}, kGenericStartup{2000, 0};

template <int kSteps>
Tile narrow_tile(const DeviceInfo& device) {
    using Shape = NarrowTile<kSteps>;
    return {Shape::kPoints,
            Shape::kCentroids,
            device.multiprocessors,
            kNarrowTile.at(Shape::kColumns),
            kNarrowStartup.at(Shape::kColumns)};
}

template <int kSteps>
Tile resident_tile(const DeviceInfo& device) {
    using Shape = ResidentTile<kSteps>;
    constexpr bool kSearched = Shape::kSavedScores == 0;
    return {Shape::kPoints,
            Shape::kCentroids,
            device.multiprocessors,
            kResidentTile.at(Shape::kColumns) * (kSearched ? kPointsInShared : 1),
            kResidentStartup.at(Shape::kColumns) + (kSearched ? kSearchedStartup : 0)};
}

Tile streamed_tile(int64_t d, const DeviceInfo& device) {
    using Shape = StreamedTile;
    const int64_t columns = ceil_div(d, Shape::kSliceColumns) * Shape::kSliceColumns;
    return {Shape::kPoints,
            Shape::kCentroids,
            device.multiprocessors,
            std::max(kStreamedTile.at(columns), kStreamedLeast),
            kStreamedStartup.at(columns)};
}

Tile tile_of(const AssignShape& shape, const AssignPlan& plan, const DeviceInfo& device) {
    // The variant that the launch takes: the first whose columns hold d.
#define FAISS_FLASH_NARROW(steps)                                                        \
    if (plan.kernel == AssignKernel::narrow && shape.d <= NarrowTile<steps>::kColumns) { \
        return narrow_tile<steps>(device);                                               \
    }
#define FAISS_FLASH_RESIDENT(steps)                                                          \
    if (plan.kernel == AssignKernel::resident && shape.d <= ResidentTile<steps>::kColumns) { \
        return resident_tile<steps>(device);                                                 \
    }
#include <faiss_flash/cuda/assign/sm90/instances.def>
#undef FAISS_FLASH_NARROW
#undef FAISS_FLASH_RESIDENT
    if (plan.kernel == AssignKernel::streamed) {
        return streamed_tile(shape.d, device);
    }
    const int64_t slots = int64_t{2} * device.multiprocessors;
    if (plan.kernel == AssignKernel::onchip) {
        using Shape = OnchipTile;
        return {Shape::kPoints,
                Shape::kCentroids,
                slots,
                kOnchipTile.at(shape.d),
                kOnchipStartup.at(shape.d)};
    }
    using Shape = GenericTile;
    const int64_t columns = ceil_div(shape.d, Shape::kSliceColumns) * Shape::kSliceColumns;
    return {Shape::kPoints,
            Shape::kCentroids,
            slots,
            kGenericTile.at(columns),
            kGenericStartup.at(columns)};
}

bool fits_on_chip(const AssignShape& shape, const DeviceInfo& device) {
    const int64_t groups = ceil_div(shape.k, OnchipTile::kCentroids);
    return shape.d <= OnchipTile::kColumns && shape.alignment >= 4 &&
           groups * OnchipTile::kGroupBytes <= device.shared_bytes / OnchipTile::kBlocks;
}

} // namespace

int64_t tiles_per_split(int64_t tiles, int splits) {
    return ceil_div(tiles, splits);
}

std::vector<AssignPlan> assign_plans(const AssignShape& shape, const DeviceInfo& device) {
    std::vector<AssignPlan> kernels;
    if (device.runs_sm90a() && shape.alignment == 16) {
        if (shape.d <= kMostFoldedColumns && shape.folded) {
            kernels.push_back({AssignKernel::narrow, 1});
        }
        if (shape.d <= kMostResidentColumns) {
            kernels.push_back({AssignKernel::resident, 1});
        }
        kernels.push_back({AssignKernel::streamed, 1});
    }
    if (fits_on_chip(shape, device)) {
        kernels.push_back({AssignKernel::onchip, 1});
    }
    kernels.push_back({AssignKernel::generic, 1});

    constexpr int64_t kMostRounds = 4; // beyond, splitting has nothing to fill up
    std::vector<AssignPlan> plans;
    for (AssignPlan plan : kernels) {
        const Tile tile = tile_of(shape, plan, device);
        const int64_t pieces = ceil_div(shape.n, tile.points) * shape.batch;
        const int64_t tiles = ceil_div(shape.k, tile.centroids);
        const bool splits_work = plan.kernel != AssignKernel::onchip && pieces > 0;
        const int64_t most = splits_work ? std::min(tiles, kMostRounds * tile.slots / pieces) : 1;
        plans.push_back(plan);
        for (int64_t splits = 2; splits <= most; splits++) {
            const int64_t each = ceil_div(tiles, splits);
            plan.splits = static_cast<int>(ceil_div(tiles, each)); // no part is empty
            if (plan.splits == splits) {
                plans.push_back(plan);
            }
        }
    }
    return plans;
}

double expected_seconds(
        const AssignShape& shape, const AssignPlan& plan, const DeviceInfo& device) {
    const Tile tile = tile_of(shape, plan, device);
    const int64_t pieces = ceil_div(shape.n, tile.points) * shape.batch * plan.splits;
    const int64_t tiles = ceil_div(shape.k, tile.centroids);
    const auto rounds = static_cast<double>(ceil_div(pieces, tile.slots));
    const auto each = static_cast<double>(tiles_per_split(tiles, plan.splits));
    const double compute = rounds * (each * tile.clocks + tile.startup) / device.clock;
    const double bytes = static_cast<double>(shape.batch * shape.n) *
                         (2 * static_cast<double>(shape.d) + (shape.second ? 12 : 8));
    const double merge = plan.splits > 1 ? kMergeSeconds + kSplitSeconds * plan.splits : 0;
    return kLaunchSeconds + std::max(compute, bytes / device.bandwidth) + merge;
}

AssignPlan choose_plan(const AssignShape& shape, const DeviceInfo& device) {
    const std::vector<AssignPlan> plans = assign_plans(shape, device);
    AssignPlan best;
    double best_seconds = -1;
    for (const AssignPlan& plan : plans) {
        const double seconds = expected_seconds(shape, plan, device);
        if (best_seconds < 0 || seconds < best_seconds) {
            best = plan;
            best_seconds = seconds;
        }
    }
    return best;
}

AssignPlan filter_plan(int64_t n, int64_t k, int64_t d, bool folded, const DeviceInfo& device) {
    // Few rows must fill the processors as well; a list for every part costs memory, though, of
    // which more rows at a time can be compared.
    constexpr int64_t kLeastCentroids = 1024;
    constexpr int64_t kFewRows = 1 << 17;
    const int most = n <= kFewRows ? kMostFilterSplits : kMostFilterSplits / 2;
    AssignPlan plan;
    plan.splits = static_cast<int>(std::min<int64_t>(most, ceil_div(k, kLeastCentroids)));
    if (device.runs_sm90a()) {
        plan.kernel = folded                      ? AssignKernel::narrow
                      : d <= kMostResidentColumns ? AssignKernel::resident
                                                  : AssignKernel::streamed;
    }
    return plan;
}

int lists_of(AssignKernel kernel) {
    return kernel == AssignKernel::generic ? kMostLists : 1; // quads of threads that share a row
}

} // namespace faiss_flash::cuda
