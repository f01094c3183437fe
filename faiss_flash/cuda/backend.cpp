#include <faiss_flash/cuda/backend.h>

#include <faiss_flash/cuda/device_info.h>
#include <faiss_flash/cuda/direct/assign.h>
#include <faiss_flash/cuda/exact/assign.h>
#include <faiss_flash/cuda/exact/decide.h>
#include <faiss_flash/cuda/rows.h>
#include <faiss_flash/cuda/runtime/check.h>
#include <faiss_flash/cuda/runtime/copy.h>
#include <faiss_flash/cuda/runtime/device_guard.h>
#include <faiss_flash/cuda/runtime/stream.h>
#include <faiss_flash/cuda/session_on_device.h>

#include <unistd.h>

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

namespace faiss_flash::cuda {

namespace {

constexpr int64_t kMostColumns = 32768; // products of pairs of f16 have three times as many

/// Bytes of exact iterations of n points and k centroids, beyond the points themselves.
int64_t workspace_bytes(int64_t n, int64_t d, int64_t k) {
    constexpr int64_t kAPoint = 80;          // scores, ids, values, the update's lists
    constexpr int64_t kACentroidColumn = 48; // tables, sums of two limbs, means
    const int64_t split =
            padded_columns(d) * 3 / 2; // rows of the second pass, for a quarter of all
    return n * (kAPoint + split) + (k + 256) * (d + 16) * kACentroidColumn + (int64_t{64} << 20);
}

int64_t free_bytes() {
    size_t free = 0;
    size_t total = 0;
    check(cudaMemGetInfo(&free, &total), "asking for free memory");
    return static_cast<int64_t>(free);
}

class CudaBackend final : public Backend {
   public:
    CudaBackend(const Backend& host, int device)
        : host_(host),
          device_(device),
          name_("cuda:" + std::to_string(device)),
          process_(getpid()) {}

    const char* name() const override { return name_.c_str(); }

    /// A process that was forked off cannot use the driver that its parent has started.
    bool reads(const VectorView& rows) const override {
        if (getpid() != process_) {
            return false;
        }
        if (rows.space != MemorySpace::device || rows.n == 0) {
            return true;
        }
        cudaPointerAttributes attributes{};
        if (cudaPointerGetAttributes(&attributes, rows.data) != cudaSuccess) {
            cudaGetLastError();
            return false;
        }
        return attributes.type == cudaMemoryTypeManaged ||
               (attributes.type == cudaMemoryTypeDevice && attributes.device == device_);
    }

    std::optional<NonFinite> find_non_finite(const std::vector<Points>& problems) const override {
        if (problems.empty() || problems.front().view().space != MemorySpace::device) {
            return host_.find_non_finite(problems);
        }
        const DeviceGuard guard(device_);
        wait_for_caller(problems.front());
        const Stream stream;
        return cuda::find_non_finite(problems, stream.get());
    }

    std::unique_ptr<LloydSession> open(
            const std::vector<Problem>& problems,
            int64_t k,
            Metric metric,
            Precision precision) const override {
        const DeviceGuard guard(device_);
        const Points& points = problems.front().points;
        wait_for_caller(points);
        const auto batch = static_cast<int64_t>(problems.size());
        const int64_t bytes = DevicePoints::bytes(points.n(), points.d()) +
                              workspace_bytes(points.n(), points.d(), k);
        if (points.d() > kMostColumns || batch * points.n() > kMostRows ||
            batch * bytes > free_bytes()) {
            require_host_memory(points);
            return host_.open(problems, k, metric, precision);
        }
        if (run_together(problems, k, precision)) {
            return std::make_unique<SessionOnDevice>(device_, problems, k, metric, precision);
        }
        return open_each(problems, k, [&](const Problem& problem) {
            return std::make_unique<SessionOnDevice>(
                    device_, std::vector<Problem>{problem}, k, metric, precision);
        });
    }

    Expectation expect(const Workload& workload) const override {
        const DeviceGuard guard(device_);
        const auto [batch, n, d, k, dtype, precision] = workload;
        Expectation expected;
        expected.device_bytes = batch * (DevicePoints::bytes(n, d) + workspace_bytes(n, d, k));
        if (d > kMostColumns || batch * n > kMostRows || expected.device_bytes > free_bytes()) {
            return host_.expect(workload);
        }
        constexpr double kUploadRate = 8e9; // bytes a second of pageable memory, checks and all
        constexpr double kStart = 5e-3;
        const auto values = static_cast<double>(batch * n * d);
        expected.open_seconds =
                kStart + values * static_cast<double>(dtype_size(dtype)) / kUploadRate;
        expected.host_bytes = int64_t{32} << 20; // pinned
        const bool fast = precision == Precision::fast && dtype != DType::f32;
        expected.iteration_seconds = iteration_seconds(batch, n, k, d, fast);
        return expected;
    }

    void read_rows(
            const std::vector<Problem>& problems,
            const int64_t* rows,
            int64_t count,
            float* out,
            int64_t stride) const override {
        if (count == 0 || problems.front().points.view().space != MemorySpace::device) {
            Backend::read_rows(problems, rows, count, out, stride);
            return;
        }
        const DeviceGuard guard(device_);
        const Stream stream;
        const int64_t values = count * problems.front().points.d();
        const auto batch = static_cast<int64_t>(problems.size());
        const Buffer<float> buffer(static_cast<size_t>(batch * values), stream.get());
        for (int64_t b = 0; b < batch; b++) {
            const Points& points = problems[static_cast<size_t>(b)].points;
            std::vector<int64_t> sources(static_cast<size_t>(count));
            std::transform(rows, rows + count, sources.begin(), [&](int64_t row) {
                return points.source_row(row);
            });
            load_rows(
                    Points(points.view(), sources),
                    0,
                    count,
                    buffer.get() + b * values,
                    points.d(),
                    stream.get());
        }
        for (int64_t b = 0; b < batch; b++) {
            const float* from = buffer.get() + b * values;
            copy(out + b * stride, from, values, cudaMemcpyDeviceToHost, stream.get());
        }
        check(cudaStreamSynchronize(stream.get()), "reading rows");
    }

    void assign(
            const Points& points,
            const float* centroids,
            int64_t k,
            Metric metric,
            int64_t* ids,
            float* distances) const override {
        const DeviceGuard guard(device_);
        wait_for_caller(points);
        const int64_t d = points.d();
        const int64_t chunk = std::min(points.n(), std::max<int64_t>(1, kChunkBytes / (4 * d)));
        const int64_t bytes = DevicePoints::bytes(chunk, d) + workspace_bytes(chunk, d, k);
        if (points.n() == 0) {
            return;
        }
        if (d > kMostColumns || bytes > free_bytes()) {
            require_host_memory(points);
            host_.assign(points, centroids, k, metric, ids, distances);
            return;
        }
        const Stream stream;
        const Buffer<float> table(static_cast<size_t>(k * d), stream.get());
        copy(table.get(), centroids, k * d, cudaMemcpyHostToDevice, stream.get());
        const Buffer<int32_t> device_ids(static_cast<size_t>(chunk), stream.get());
        const Buffer<double> device_values(static_cast<size_t>(chunk), stream.get());
        const Buffer<AssignCounts> counts(1, stream.get());
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
                    false,
                    stream.get());
            copy(chunk_ids.data(), device_ids.get(), count, cudaMemcpyDeviceToHost, stream.get());
            copy(values.data(), device_values.get(), count, cudaMemcpyDeviceToHost, stream.get());
            check(cudaStreamSynchronize(stream.get()), "an assignment on the device");
            std::copy_n(chunk_ids.begin(), count, ids + first);
            for (int64_t i = 0; distances && i < count; i++) {
                distances[first + i] = static_cast<float>(values[static_cast<size_t>(i)]);
            }
        }
    }

    void assign_batch(
            const std::vector<Assignment>& problems, int64_t k, Metric metric) const override {
        const DeviceGuard guard(device_);
        const int64_t n = problems.front().points.n();
        const int64_t d = problems.front().points.d();
        const auto batch = static_cast<int64_t>(problems.size());
        const int64_t bytes = batch * (n * (4 * d + 20) + k * d * 16);
        if (batch == 1 || !direct_pays(batch, n, k, d) || batch * n > kMostRows ||
            bytes > free_bytes()) {
            Backend::assign_batch(problems, k, metric);
            return;
        }
        std::vector<Points> points;
        points.reserve(problems.size());
        for (const Assignment& problem : problems) {
            points.push_back(problem.points);
        }
        if (find_non_finite(points)) { // the kernel takes finite rows only
            Backend::assign_batch(problems, k, metric);
            return;
        }
        wait_for_caller(points.front());
        const Stream stream;
        std::vector<float> tables;
        for (const Assignment& problem : problems) {
            tables.insert(tables.end(), problem.centroids, problem.centroids + k * d);
        }
        const auto rows_in_all = static_cast<size_t>(batch * n);
        const Buffer<float> rows(rows_in_all * static_cast<size_t>(d), stream.get());
        load_batch(points, rows.get(), stream.get());
        Scaling scaling(batch, d, stream.get());
        scaling.find(rows.get(), n, has_integers(points.front()), stream.get());
        const Buffer<float> centroids(tables.size(), stream.get());
        const auto values_in_all = static_cast<int64_t>(tables.size());
        copy(centroids.get(), tables.data(), values_in_all, cudaMemcpyHostToDevice, stream.get());
        DirectTable table(batch, k, d, metric, stream.get());
        const Buffer<int32_t> device_ids(rows_in_all, stream.get());
        const Buffer<AssignCounts> counts(problems.size(), stream.get());
        assign_direct(
                rows.get(),
                n,
                scaling,
                centroids.get(),
                table,
                device_ids.get(),
                counts.get(),
                stream.get());
        std::vector<int32_t> ids(rows_in_all);
        copy(ids.data(), device_ids.get(), batch * n, cudaMemcpyDeviceToHost, stream.get());
        std::vector<double> values;
        if (problems.front().distances) {
            values.resize(rows_in_all);
            const Buffer<double> device_values(rows_in_all, stream.get());
            for (int64_t b = 0; b < batch; b++) {
                measure(rows.get() + b * n * d,
                        n,
                        d,
                        centroids.get() + b * k * d,
                        metric,
                        device_ids.get() + b * n,
                        device_values.get() + b * n,
                        stream.get());
            }
            copy(values.data(),
                 device_values.get(),
                 batch * n,
                 cudaMemcpyDeviceToHost,
                 stream.get());
        }
        check(cudaStreamSynchronize(stream.get()), "an assignment on the device");
#pragma omp parallel for
        for (int64_t b = 0; b < batch; b++) {
            const Assignment& problem = problems[static_cast<size_t>(b)];
            std::copy_n(ids.begin() + b * n, n, problem.ids);
            for (int64_t i = 0; problem.distances && i < n; i++) {
                problem.distances[i] = static_cast<float>(values[static_cast<size_t>(b * n + i)]);
            }
        }
    }

   private:
    /// Rows on the device may still be in the making, on a stream that is not known here.
    static void wait_for_caller(const Points& points) {
        if (points.view().space == MemorySpace::device) {
            check(cudaDeviceSynchronize(), "waiting for the points");
        }
    }

    /// What does not fit on the device can run on the host, if the host can read it.
    static void require_host_memory(const Points& points) {
        if (points.view().space == MemorySpace::device) {
            throw Error(
                    "points with n=" + std::to_string(points.n()) +
                    " and d=" + std::to_string(points.d()) +
                    " are on a device without enough free memory to work on them");
        }
    }

    static constexpr int64_t kMostRows = int64_t{1} << 30;
    static constexpr int64_t kChunkBytes = int64_t{512} << 20; // of points that assign() takes

    const Backend& host_;
    const int device_;
    const std::string name_;
    const pid_t process_;
};

} // namespace

std::vector<const Backend*> backends(const Backend& host) {
    static const std::vector<std::unique_ptr<CudaBackend>> instances = [&] {
        std::vector<std::unique_ptr<CudaBackend>> made;
        for (int device = 0; device < device_count(); device++) {
            if (device_info(device).major >= 8) {
                made.push_back(std::make_unique<CudaBackend>(host, device));
            }
        }
        return made;
    }();
    std::vector<const Backend*> list(instances.size());
    std::transform(instances.begin(), instances.end(), list.begin(), [](const auto& instance) {
        return instance.get();
    });
    return list;
}

} // namespace faiss_flash::cuda
