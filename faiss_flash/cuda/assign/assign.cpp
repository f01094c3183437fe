#include <faiss_flash/cuda/assign/assign.h>
#include <faiss_flash/cuda/assign/merge.h>
#include <faiss_flash/cuda/assign/onchip/launch.h>
#include <faiss_flash/cuda/assign/sm80/launch.h>
#include <faiss_flash/cuda/assign/sm90/launch.h>
#include <faiss_flash/cuda/device_info.h>

#include <limits>
#include <string>

namespace faiss_flash::cuda {

namespace {

void require(bool holds, const std::string& text) {
    if (!holds) {
        throw InvalidArgument(text);
    }
}

void check_arguments(
        const TensorRows& points, const TensorCentroids& centroids, const AssignOutput& output) {
    require(points.columns == centroids.d,
            "points.columns=" + std::to_string(points.columns) +
                    " does not match the centroids' d=" + std::to_string(centroids.d));
    require(points.batch == centroids.batch,
            "points.batch=" + std::to_string(points.batch) +
                    " does not match the centroids' batch=" + std::to_string(centroids.batch));
    require(points.bf16 == centroids.bf16, "points and centroids differ in type");
    constexpr int64_t kMaxRows = int64_t{1} << 30; // counts of tiles and of work stay in 32 bits
    require(points.rows >= 0 && points.rows <= kMaxRows,
            "points.rows=" + std::to_string(points.rows) + " must be 0 to " +
                    std::to_string(kMaxRows));
    require(output.best && output.ids, "output.best or output.ids is null");
}

void launch(
        const TensorRows& points,
        const TensorCentroids& centroids,
        const AssignOutput& output,
        const CandidateLists& lists,
        cudaStream_t stream,
        const AssignPlan& plan) {
    if (plan.kernel == AssignKernel::generic) {
        sm80::launch(points, centroids, output, lists, stream, plan);
    } else if (plan.kernel == AssignKernel::onchip) {
        onchip::launch(points, centroids, output, stream);
    } else {
        sm90::launch(points, centroids, output, lists, stream, plan);
    }
}

} // namespace

AssignShape shape_of(
        const TensorRows& points, const TensorCentroids& centroids, const AssignOutput& output) {
    return {points.batch,
            points.rows,
            centroids.k,
            centroids.d,
            output.second != nullptr,
            alignment_of(points),
            centroids.folds};
}

AssignWorkspace::AssignWorkspace(const AssignShape& shape, Arena& arena)
    : AssignWorkspace(choose_plan(shape, device_info()), shape, arena) {}

AssignWorkspace::AssignWorkspace(const AssignPlan& plan, const AssignShape& shape, Arena& arena)
    : plan(plan), rows(shape.batch * shape.n), second(shape.second) {
    if (plan.splits > 1) {
        const int64_t count = plan.splits * rows;
        parts.best = arena.take<float>(count);
        parts.second = second ? arena.take<float>(count) : nullptr;
        parts.ids = arena.take<int32_t>(count);
    }
}

void find_best(
        const TensorRows& points,
        const TensorCentroids& centroids,
        const AssignOutput& output,
        const AssignWorkspace& workspace,
        cudaStream_t stream) {
    check_arguments(points, centroids, output);
    require(!points.row_count, "points.row_count is for candidates");
    const int64_t rows = points.batch * points.rows;
    require(rows <= workspace.rows,
            "points.rows=" + std::to_string(points.rows) +
                    " exceeds the workspace's rows=" + std::to_string(workspace.rows));
    require(workspace.second || !output.second, "output.second: the workspace has no room for it");
    if (rows == 0) {
        return;
    }
    const AssignPlan& plan = workspace.plan;
    if (plan.splits == 1) {
        launch(points, centroids, output, {}, stream, plan);
        return;
    }
    AssignOutput parts = workspace.parts;
    parts.second = output.second ? parts.second : nullptr;
    launch(points, centroids, parts, {}, stream, plan);
    merge_splits(parts, plan.splits, rows, output, stream);
}

void list_candidates(
        const TensorRows& points,
        const TensorCentroids& centroids,
        const CandidateLists& lists,
        cudaStream_t stream,
        const AssignPlan& plan) {
    require(points.batch == 1 && points.rows == lists.rows && lists.rows % kCandidateRows == 0,
            "points.rows=" + std::to_string(points.rows) +
                    " does not match lists.rows=" + std::to_string(lists.rows));
    require(centroids.k <= kMostListedCentroids,
            "k=" + std::to_string(centroids.k) + " must be at most " +
                    std::to_string(kMostListedCentroids));
    launch(points, centroids, {}, lists, stream, plan);
}

} // namespace faiss_flash::cuda
