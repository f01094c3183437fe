#include <faiss_flash/cuda/assign_rows.h>

#include <faiss_flash/core/parallel.h>
#include <faiss_flash/cuda/assigner.h>
#include <faiss_flash/cuda/exact/decide.h>
#include <faiss_flash/cuda/rows.h>
#include <faiss_flash/cuda/runtime/copy.h>
#include <faiss_flash/cuda/runtime/event.h>
#include <faiss_flash/cuda/runtime/stream.h>

#include <algorithm>
#include <iterator>
#include <memory>
#include <vector>

namespace faiss_flash::cuda {

namespace {

constexpr int64_t kChunkBytes = int64_t{512} << 20; // of points that are on the device at a time
constexpr int64_t kRows = 4096;                     // of a host loop's pieces

/// Rows on the device, and what is found of them.
struct AssignedRows {
    AssignedRows(
            const Workload& workload, Method method, bool in_place, bool measures, Arena& arena)
        : assigner(make_assigner(method, workload, in_place, arena)),
          extremes(workload.batch, workload.d, arena),
          ids(arena.take<int32_t>(workload.batch * workload.n)),
          values(measures ? arena.take<double>(workload.batch * workload.n) : nullptr),
          counts(arena.take<IterationCounts>(workload.batch)) {}

    std::unique_ptr<Assigner> assigner;
    ColumnExtremes extremes;
    int32_t* ids;            ///< [batch x n]
    double* values;          ///< [batch x n], or null where nothing is measured
    IterationCounts* counts; ///< [batch]
};

Workload exact_workload(
        int64_t batch, int64_t n, int64_t k, const VectorView& points, Metric metric) {
    KMeansOptions options;
    options.metric = metric;
    return workload_of(points, false, batch, n, k, options);
}

/// Of as many problems as there are centroids [batch x k x d] on the device. False, with nothing
/// written, where some row is not finite and the method takes none such.
bool assign_loaded(
        const std::vector<Assignment>& problems,
        const float* centroids,
        int64_t k,
        Metric metric,
        Method method,
        cudaStream_t stream) {
    const int64_t n = problems.front().points.n();
    const VectorView& view = problems.front().points.view();
    const int64_t d = view.d;
    const auto batch = static_cast<int64_t>(problems.size());
    const bool measures = problems.front().distances != nullptr;
    const bool direct = method == Method::direct;
    std::vector<Problem> rows;
    std::transform(
            problems.begin(),
            problems.end(),
            std::back_inserter(rows),
            [](const Assignment& problem) {
                return Problem{problem.points, nullptr};
            });
    const Workload workload = exact_workload(batch, n, k, view, metric);
    const bool in_place = stay_in_place(method, rows);
    Allocated<AssignedRows> found(stream, [&](Arena& arena) {
        return AssignedRows(workload, method, in_place, measures, arena);
    });
    wait_for_rows(rows, stream);
    found->assigner->load(rows, stream);
    const DeviceRows loaded = found->assigner->rows();
    found->extremes.find(loaded, stream);
    if (direct && !all_finite(found->extremes.facts(stream))) {
        return false;
    }
    found->assigner->prepare(found->extremes, stream);
    const size_t counts_bytes = problems.size() * sizeof(IterationCounts);
    check(cudaMemsetAsync(found->counts, 0, counts_bytes, stream), "clearing counts");
    double* measured = direct ? nullptr : found->values;
    found->assigner->assign({0, n}, centroids, {found->ids, measured, found->counts}, stream);
    for (int64_t b = 0; direct && measures && b < batch; b++) {
        const float* own = centroids + b * k * d;
        const int32_t* ids = found->ids + b * n;
        measure(loaded.of_problem(b), own, k, metric, ids, found->values + b * n, stream);
    }
    Event done; // waits as one waits who may want to stop
    done.record(stream);
    done.wait();
    const int64_t distance_count = measures ? batch * n : 0;
    // Not filled first: one thread would touch all their pages for that.
    const std::unique_ptr<int32_t[]> ids(new int32_t[static_cast<size_t>(batch * n)]);
    const std::unique_ptr<double[]> distances(new double[static_cast<size_t>(distance_count)]);
    copy(ids.get(), found->ids, batch * n, cudaMemcpyDeviceToHost, stream);
    copy(distances.get(), found->values, distance_count, cudaMemcpyDeviceToHost, stream);
    check(cudaStreamSynchronize(stream), "an assignment on the device");
    for (int64_t b = 0; b < batch; b++) {
        const Assignment& to = problems[static_cast<size_t>(b)];
        for_each_range(n, kRows, [&](int64_t begin, int64_t end) {
            std::copy(ids.get() + b * n + begin, ids.get() + b * n + end, to.ids + begin);
            for (int64_t i = begin; measures && i < end; i++) {
                to.distances[i] = static_cast<float>(distances[static_cast<size_t>(b * n + i)]);
            }
        });
    }
    return true;
}

int64_t rows_of_chunk(int64_t n, int64_t d) {
    return std::min(n, std::max<int64_t>(1, kChunkBytes / (4 * d)));
}

} // namespace

void assign_in_chunks(const Assignment& problem, const float* centroids, int64_t k, Metric metric) {
    const Points& points = problem.points;
    const int64_t limit = problem.memory_limit;
    int64_t chunk = rows_of_chunk(points.n(), points.d());
    int64_t bytes = chunk_bytes(points.n(), k, points.view());
    while (limit > 0 && bytes > limit && chunk > 1) {
        chunk = (chunk + 1) / 2;
        bytes = assign_bytes(1, chunk, k, points.view(), Method::exact);
    }
    require_within(limit, "an assignment", bytes);
    require_room("an assignment", bytes);
    const Stream stream;
    for (int64_t first = 0; first < points.n(); first += chunk) {
        const Assignment part{
                points.part(first, std::min(chunk, points.n() - first)),
                nullptr, // they are on the device
                problem.ids + first,
                problem.distances ? problem.distances + first : nullptr};
        assign_loaded({part}, centroids, k, metric, Method::exact, stream.get());
    }
}

void assign_in_chunks(const Assignment& problem, int64_t k, Metric metric) {
    if (problem.points.n() == 0) {
        return;
    }
    const int64_t count = k * problem.points.d();
    const Stream stream;
    const Buffer<float> centroids(static_cast<size_t>(count), stream.get());
    copy(centroids.get(), problem.centroids, count, cudaMemcpyHostToDevice, stream.get());
    check(cudaStreamSynchronize(stream.get()), "the centroids of an assignment");
    assign_in_chunks(problem, centroids.get(), k, metric);
}

int64_t chunk_bytes(int64_t n, int64_t k, const VectorView& view) {
    return assign_bytes(1, rows_of_chunk(n, view.d), k, view, Method::exact);
}

bool assign_together(const std::vector<Assignment>& problems, int64_t k, Metric metric) {
    std::vector<float> tables;
    for (const Assignment& problem : problems) {
        const float* end = problem.centroids + k * problem.points.d();
        tables.insert(tables.end(), problem.centroids, end);
    }
    const Stream stream;
    const Buffer<float> centroids(tables.size(), stream.get());
    const auto count = static_cast<int64_t>(tables.size());
    copy(centroids.get(), tables.data(), count, cudaMemcpyHostToDevice, stream.get());
    return assign_loaded(problems, centroids.get(), k, metric, Method::direct, stream.get());
}

int64_t assign_bytes(int64_t batch, int64_t n, int64_t k, const VectorView& view, Method method) {
    const Workload workload = exact_workload(batch, n, k, view, Metric::l2);
    const bool in_place = view.space == MemorySpace::device; // as a rule
    const int64_t assignment = bytes_of(
            [&](Arena& arena) { return AssignedRows(workload, method, in_place, true, arena); });
    return assignment + 4 * batch * k * view.d;
}

} // namespace faiss_flash::cuda
