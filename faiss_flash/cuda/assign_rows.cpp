#include <faiss_flash/cuda/assign_rows.h>

#include <faiss_flash/core/parallel.h>
#include <faiss_flash/cuda/direct/assigner.h>
#include <faiss_flash/cuda/exact/assign.h>
#include <faiss_flash/cuda/rows.h>
#include <faiss_flash/cuda/runtime/copy.h>
#include <faiss_flash/cuda/runtime/event.h>
#include <faiss_flash/cuda/runtime/stream.h>

#include <algorithm>
#include <optional>

namespace faiss_flash::cuda {

namespace {

constexpr int64_t kChunkBytes = int64_t{512} << 20; // of points that are on the device at a time
constexpr int64_t kRows = 4096;                     // of a host loop's pieces

/// Of assign_in_chunks(): up to n rows at a time.
struct Chunk {
    Chunk(int64_t n, int64_t k, int64_t d, Metric metric, Arena& arena)
        : rows(arena.take<float>(n * d)),
          points(rows, n, d, arena),
          workspace(n, d, k, metric, arena),
          centroids(arena.take<float>(k * d)),
          ids(arena.take<int32_t>(n)),
          values(arena.take<double>(n)),
          counts(arena.take<IterationCounts>(1)) {}

    float* rows; ///< [n x d]
    DevicePoints points;
    ExactWorkspace workspace;
    float* centroids; ///< [k x d]
    int32_t* ids;     ///< [n]
    double* values;   ///< [n]
    IterationCounts* counts;
};

/// Of assign_together().
struct DirectBatch {
    DirectBatch(const Workload& workload, bool measures, Arena& arena)
        : points(workload, arena),
          centroids(arena.take<float>(workload.batch * workload.k * workload.d)),
          ids(arena.take<int32_t>(workload.batch * workload.n)),
          values(measures ? arena.take<double>(workload.batch * workload.n) : nullptr),
          counts(arena.take<IterationCounts>(workload.batch)) {}

    DirectAssigner points;
    float* centroids;        ///< [batch x k x d]
    int32_t* ids;            ///< [batch x n]
    double* values;          ///< [batch x n], or null where nothing is measured
    IterationCounts* counts; ///< [batch]
};

Workload direct_workload(int64_t batch, int64_t n, int64_t k, int64_t d, Metric metric) {
    return {batch, n, d, k, metric, DType::f32, Precision::exact, false, false};
}

/// For the work queued so far, as one waits who may want to stop.
void wait_for(const Stream& stream) {
    Event done;
    done.record(stream.get());
    done.wait();
}

} // namespace

void assign_in_chunks(
        const Points& points,
        const float* centroids,
        int64_t k,
        Metric metric,
        int64_t* ids,
        float* distances) {
    const int64_t d = points.d();
    const int64_t chunk = std::min(points.n(), std::max<int64_t>(1, kChunkBytes / (4 * d)));
    const auto make = [&](Arena& arena) { return Chunk(chunk, k, d, metric, arena); };
    require_room("an assignment", bytes_of(make) + static_cast<int64_t>(kPinnedBlock));
    const Stream stream;
    Allocated<Chunk> device(stream.get(), make);
    copy(device->centroids, centroids, k * d, cudaMemcpyHostToDevice, stream.get());
    check(cudaMemsetAsync(device->counts, 0, sizeof(IterationCounts), stream.get()),
          "clearing counts");
    std::vector<int32_t> chunk_ids(static_cast<size_t>(chunk));
    std::vector<double> values(static_cast<size_t>(chunk));
    for (int64_t first = 0; first < points.n(); first += chunk) {
        const int64_t count = std::min(chunk, points.n() - first);
        load_rows(points, first, count, device->rows, d, stream.get());
        device->points.prepare(count, values_of(points), stream.get());
        assign_exact(
                device->points,
                device->centroids,
                device->workspace,
                {device->ids, device->values, device->counts},
                {},
                stream.get());
        wait_for(stream);
        copy(chunk_ids.data(), device->ids, count, cudaMemcpyDeviceToHost, stream.get());
        copy(values.data(), device->values, count, cudaMemcpyDeviceToHost, stream.get());
        check(cudaStreamSynchronize(stream.get()), "an assignment on the device");
        for_each_range(count, kRows, [&](int64_t begin, int64_t end) {
            std::copy(chunk_ids.data() + begin, chunk_ids.data() + end, ids + first + begin);
            for (int64_t i = begin; distances && i < end; i++) {
                distances[first + i] = static_cast<float>(values[static_cast<size_t>(i)]);
            }
        });
    }
}

int64_t direct_batch_bytes(int64_t batch, int64_t n, int64_t k, int64_t d) {
    const auto make = [&](Arena& arena) {
        return DirectBatch(direct_workload(batch, n, k, d, Metric::l2), true, arena);
    };
    return bytes_of(make) + static_cast<int64_t>(kPinnedBlock);
}

bool assign_together(const std::vector<Assignment>& problems, int64_t k, Metric metric) {
    const Points& first = problems.front().points;
    const int64_t n = first.n();
    const int64_t d = first.d();
    const auto batch = static_cast<int64_t>(problems.size());
    const auto all_rows = static_cast<size_t>(batch * n);
    const bool measures = problems.front().distances != nullptr;
    std::vector<Problem> points;
    points.reserve(problems.size());
    std::vector<float> tables;
    for (const Assignment& problem : problems) {
        points.push_back({problem.points, nullptr});
        tables.insert(tables.end(), problem.centroids, problem.centroids + k * d);
    }
    const Stream stream;
    Allocated<DirectBatch> device(stream.get(), [&](Arena& arena) {
        return DirectBatch(direct_workload(batch, n, k, d, metric), measures, arena);
    });
    device->points.load(points, stream.get());
    const auto* rows = static_cast<const float*>(device->points.rows().data);
    VectorView on_device = VectorView::of(rows, batch * n, d);
    on_device.space = MemorySpace::device;
    if (find_non_finite({Points(on_device)}, stream.get())) {
        return false;
    }
    copy(device->centroids, tables.data(), batch * k * d, cudaMemcpyHostToDevice, stream.get());
    const size_t counts_bytes = problems.size() * sizeof(IterationCounts);
    check(cudaMemsetAsync(device->counts, 0, counts_bytes, stream.get()), "clearing counts");
    device->points.assign(device->centroids, {device->ids, nullptr, device->counts}, stream.get());
    for (int64_t b = 0; measures && b < batch; b++) {
        measure(rows + b * n * d,
                n,
                d,
                device->centroids + b * k * d,
                k,
                metric,
                device->ids + b * n,
                device->values + b * n,
                stream.get());
    }
    wait_for(stream);
    std::vector<int32_t> ids(all_rows);
    std::vector<double> values(measures ? all_rows : 0);
    copy(ids.data(), device->ids, batch * n, cudaMemcpyDeviceToHost, stream.get());
    if (measures) {
        copy(values.data(), device->values, batch * n, cudaMemcpyDeviceToHost, stream.get());
    }
    check(cudaStreamSynchronize(stream.get()), "an assignment on the device");
    for_each_range(batch, 1, [&](int64_t b, int64_t /*end*/) {
        const Assignment& problem = problems[static_cast<size_t>(b)];
        std::copy_n(ids.begin() + b * n, n, problem.ids);
        for (int64_t i = 0; measures && i < n; i++) {
            problem.distances[i] = static_cast<float>(values[static_cast<size_t>(b * n + i)]);
        }
    });
    return true;
}

} // namespace faiss_flash::cuda
