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
        const TensorRows& points, const CentroidTable& centroids, const AssignOutput& output) {
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
        const CentroidTable& centroids,
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
        const TensorRows& points, const CentroidTable& centroids, const AssignOutput& output) {
    return {points.batch,
            points.rows,
            centroids.k,
            centroids.d,
            output.second != nullptr,
            alignment_of(points),
            centroids.folded.get() != nullptr};
}

int64_t assign_bytes(const AssignShape& shape) {
    const AssignPlan plan = choose_plan(shape, device_info());
    const int64_t each = shape.second ? 12 : 8; // best, second, id
    return plan.splits == 1 ? 0 : shape.batch * shape.n * plan.splits * each;
}

void assign(
        const TensorRows& points,
        const CentroidTable& centroids,
        const AssignOutput& output,
        cudaStream_t stream) {
    check_arguments(points, centroids, output);
    const AssignPlan plan = choose_plan(shape_of(points, centroids, output), device_info());
    assign(points, centroids, output, stream, plan);
}

void assign(
        const TensorRows& points,
        const CentroidTable& centroids,
        const AssignOutput& output,
        cudaStream_t stream,
        const AssignPlan& plan) {
    check_arguments(points, centroids, output);
    require(!points.row_count, "points.row_count is for candidates");
    if (points.rows == 0) {
        return;
    }
    if (plan.splits == 1) {
        launch(points, centroids, output, {}, stream, plan);
        return;
    }
    const auto rows = static_cast<size_t>(points.batch * points.rows);
    const size_t count = rows * static_cast<size_t>(plan.splits);
    const Buffer<float> best(count, stream);
    const Buffer<float> second(output.second ? count : 1, stream);
    const Buffer<int32_t> ids(count, stream);
    const AssignOutput parts{best.get(), output.second ? second.get() : nullptr, ids.get()};
    launch(points, centroids, parts, {}, stream, plan);
    merge_splits(parts, plan.splits, static_cast<int64_t>(rows), output, stream);
}

void list_candidates(
        const TensorRows& points,
        const CentroidTable& centroids,
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
