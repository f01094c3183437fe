#include <faiss_flash/cuda/assign_rows.h>

#include <faiss_flash/core/parallel.h>
#include <faiss_flash/cuda/direct/assign.h>
#include <faiss_flash/cuda/exact/assign.h>
#include <faiss_flash/cuda/exact/decide.h>
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
    constexpr int64_t kEachRow = 12; // id and value
    require_room(
            "an assignment",
            DevicePoints::bytes(chunk, d) + exact_bytes(chunk, d, k) + chunk * kEachRow +
                    4 * k * d + static_cast<int64_t>(kPinnedBlock));
    const Stream stream;
    const Buffer<float> table(static_cast<size_t>(k * d), stream.get());
    copy(table.get(), centroids, k * d, cudaMemcpyHostToDevice, stream.get());
    const Buffer<int32_t> device_ids(static_cast<size_t>(chunk), stream.get());
    const Buffer<double> device_values(static_cast<size_t>(chunk), stream.get());
    const Buffer<IterationCounts> counts(1, stream.get());
    check(cudaMemsetAsync(counts.get(), 0, sizeof(IterationCounts), stream.get()),
          "clearing counts");
    std::vector<int32_t> chunk_ids(static_cast<size_t>(chunk));
    std::vector<double> values(static_cast<size_t>(chunk));
    for (int64_t first = 0; first < points.n(); first += chunk) {
        const int64_t count = std::min(chunk, points.n() - first);
        const DevicePoints rows(points, first, count, stream.get());
        assign_exact(
                rows,
                table.get(),
                k,
                metric,
                {device_ids.get(), device_values.get(), counts.get()},
                {},
                stream.get());
        wait_for(stream);
        copy(chunk_ids.data(), device_ids.get(), count, cudaMemcpyDeviceToHost, stream.get());
        copy(values.data(), device_values.get(), count, cudaMemcpyDeviceToHost, stream.get());
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
    constexpr int64_t kEachRow = 12; // id and value
    return batch * (n * (4 * d + kEachRow) + 4 * k * d + Scaling::bytes(d)) +
           DirectTable::bytes(batch, k, d) + static_cast<int64_t>(kPinnedBlock);
}

bool assign_together(const std::vector<Assignment>& problems, int64_t k, Metric metric) {
    const Points& first = problems.front().points;
    const int64_t n = first.n();
    const int64_t d = first.d();
    const auto batch = static_cast<int64_t>(problems.size());
    const auto all_rows = static_cast<size_t>(batch * n);
    std::vector<Points> points;
    points.reserve(problems.size());
    std::vector<float> tables;
    for (const Assignment& problem : problems) {
        points.push_back(problem.points);
        tables.insert(tables.end(), problem.centroids, problem.centroids + k * d);
    }
    const Stream stream;
    const Buffer<float> rows(all_rows * static_cast<size_t>(d), stream.get());
    load_batch(points, rows.get(), stream.get());
    VectorView on_device = VectorView::of(rows.get(), batch * n, d);
    on_device.space = MemorySpace::device;
    if (find_non_finite({Points(on_device)}, stream.get())) {
        return false;
    }
    Scaling scaling(batch, d, stream.get());
    scaling.find(rows.get(), n, values_of(first), stream.get());
    const Buffer<float> centroids(tables.size(), stream.get());
    copy(centroids.get(), tables.data(), batch * k * d, cudaMemcpyHostToDevice, stream.get());
    DirectTable table(batch, k, d, metric, stream.get());
    const Buffer<int32_t> device_ids(all_rows, stream.get());
    const Buffer<IterationCounts> counts(problems.size(), stream.get());
    check(cudaMemsetAsync(counts.get(), 0, problems.size() * sizeof(IterationCounts), stream.get()),
          "clearing counts");
    assign_direct(
            rows.get(),
            n,
            scaling,
            centroids.get(),
            table,
            device_ids.get(),
            counts.get(),
            stream.get());
    const bool measures = problems.front().distances != nullptr;
    const Buffer<double> device_values(measures ? all_rows : 1, stream.get());
    for (int64_t b = 0; measures && b < batch; b++) {
        measure(rows.get() + b * n * d,
                n,
                d,
                centroids.get() + b * k * d,
                k,
                metric,
                device_ids.get() + b * n,
                device_values.get() + b * n,
                stream.get());
    }
    wait_for(stream);
    std::vector<int32_t> ids(all_rows);
    std::vector<double> values(measures ? all_rows : 0);
    copy(ids.data(), device_ids.get(), batch * n, cudaMemcpyDeviceToHost, stream.get());
    if (measures) {
        copy(values.data(), device_values.get(), batch * n, cudaMemcpyDeviceToHost, stream.get());
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
