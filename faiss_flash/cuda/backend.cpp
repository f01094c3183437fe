#include <faiss_flash/cuda/backend.h>

#include <faiss_flash/core/parallel.h>
#include <faiss_flash/cuda/assign/plan.h>
#include <faiss_flash/cuda/assign_rows.h>
#include <faiss_flash/cuda/assigner.h>
#include <faiss_flash/cuda/device_info.h>
#include <faiss_flash/cuda/direct/assign.h>
#include <faiss_flash/cuda/download.h>
#include <faiss_flash/cuda/kept_centroids.h>
#include <faiss_flash/cuda/rows.h>
#include <faiss_flash/cuda/runtime/check.h>
#include <faiss_flash/cuda/runtime/device_guard.h>
#include <faiss_flash/cuda/runtime/stream.h>
#include <faiss_flash/cuda/upload.h>
#include <faiss_flash/cuda/worker.h>

#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <iterator>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace faiss_flash::cuda {

namespace {

constexpr int64_t kMostColumns = 32768; // more are not tested
constexpr int64_t kMostRows = int64_t{1} << 30;
constexpr int64_t kMostProblems = 65535;   // of a launch: its grid's second dimension
constexpr int64_t kMostExactProblems = 16; // whose assignments are queued one after the other

/// Throws for a shape that the kernels do not take.
void require_shape(const Workload& workload) {
    const auto require = [](const char* name, int64_t value, int64_t most) {
        if (value > most) {
            throw Unsupported(
                    std::string(name) + "=" + std::to_string(value) + " exceeds " +
                    std::to_string(most) + ", the most that a GPU takes");
        }
    };
    require("points.d", workload.d, kMostColumns);
    require(workload.batch == 1 ? "points.n" : "rows of all problems",
            workload.batch * workload.n,
            kMostRows);
}

/// Rows in pageable memory, brought by threads, checks and all.
double open_seconds(const Workload& workload) {
    constexpr double kStart = 3e-4;
    constexpr double kRateOfThread = 5e9; // bytes a second
    constexpr double kMostRate = 25e9;
    const double rate = std::min(kMostRate, kRateOfThread * loop_threads());
    const double values =
            static_cast<double>(workload.batch) * static_cast<double>(workload.n * workload.d);
    return kStart + values * static_cast<double>(dtype_size(workload.dtype)) / rate;
}

/// Of an iteration, or of an epoch in batches.
double pass_seconds(const Workload& workload, bool fast) {
    const int64_t rows = workload.assigned();
    const int64_t times = ceil_div(workload.n, rows);
    return static_cast<double>(times) *
           iteration_seconds(workload.batch, rows, workload.k, workload.d, fast);
}

class CudaBackend final : public Backend {
   public:
    explicit CudaBackend(int device)
        : device_(device), name_("cuda:" + std::to_string(device)), process_(getpid()) {}

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

    /// Makes the process's context on the device, unless it has one.
    bool starts() const override {
        if (!started_) {
            try {
                const DeviceGuard guard(device_);
                check(cudaFree(nullptr), "starting the device");
                started_ = true;
            } catch (const Error&) { // by another process, or without room: may change
            }
        }
        return started_;
    }

    int64_t most_together(const Workload& workload) const override {
        if (workload.batch == 1) {
            return 1; // asking for free memory takes a while
        }
        if (workload.d > kMostColumns || workload.n > kMostRows) {
            return 1; // what is not taken at all has no tables whose bytes could be counted
        }
        const DeviceGuard guard(device_);
        Workload some = workload;
        some.batch = std::min(workload.batch, kMostExactProblems);
        const int64_t each = std::max<int64_t>(1, device_bytes(some) / some.batch);
        const int64_t most = method_for(workload) == Method::exact
                                     ? kMostExactProblems
                                     : std::min(kMostProblems, kMostRows / workload.n);
        const int64_t limit = workload.memory_limit;
        const int64_t allowed = limit > 0 ? std::max<int64_t>(1, limit / each) : most;
        const int64_t wanted = std::min({most, allowed, workload.batch});
        return has_room(wanted * each) ? wanted : std::max<int64_t>(1, free_device_bytes() / each);
    }

    std::optional<NonFinite> find_non_finite(const std::vector<Points>& problems) const override {
        if (problems.empty()) {
            return std::nullopt;
        }
        const DeviceGuard guard(device_);
        const Stream stream;
        std::vector<Problem> rows;
        std::transform(
                problems.begin(),
                problems.end(),
                std::back_inserter(rows),
                [](const Points& points) { return Problem{points}; });
        wait_for_rows(rows, stream.get());
        return cuda::find_non_finite(problems, stream.get());
    }

    bool scan_checks() const override { return true; }

    std::unique_ptr<Worker> start(const Workload& workload) const override {
        const DeviceGuard guard(device_);
        require_shape(workload);
        started_ = true;
        return start_worker(device_, workload);
    }

    Expectation expect(const Workload& workload) const override {
        const DeviceGuard guard(device_);
        Workload together = workload;
        together.batch = std::min(workload.batch, most_together(workload));
        Workload one = workload;
        one.batch = 1;
        require_shape(one);
        Expectation expected;
        expected.device_bytes = device_bytes(together);
        require_room("k-means", expected.device_bytes);
        expected.open_seconds = open_seconds(workload);
        expected.host_bytes = kUploadHostBytes;
        const bool fast = method_for(together) == Method::fast;
        expected.iteration_seconds = pass_seconds(workload, fast);
        return expected;
    }

    bool is_started() const override { return started_; }

    double seconds(const Workload& workload, double iterations) const override {
        if (workload.d > kMostColumns || workload.batch * workload.n > kMostRows) {
            return HUGE_VAL;
        }
        return open_seconds(workload) + iterations * pass_seconds(workload, false);
    }

    void read_rows(
            const Points& points, const int64_t* rows, int64_t count, float* out) const override {
        if (count == 0 || points.view().space != MemorySpace::device) {
            Backend::read_rows(points, rows, count, out);
            return;
        }
        const DeviceGuard guard(device_);
        const Stream stream;
        wait_for_rows({{points}}, stream.get());
        const int64_t values = count * points.d();
        const Buffer<float> buffer(static_cast<size_t>(values), stream.get());
        std::vector<int64_t> sources(static_cast<size_t>(count));
        std::transform(rows, rows + count, sources.begin(), [&](int64_t row) {
            return points.source_row(row);
        });
        const Points chosen(points.view(), std::move(sources));
        load_rows(chosen, 0, count, buffer.get(), points.d(), stream.get());
        download(buffer.get(), {out}, values, stream.get());
    }

    void assign(
            const Points& points,
            const float* centroids,
            int64_t k,
            Metric metric,
            int64_t* ids,
            float* distances) const override {
        assign_batch({{points, centroids, ids, distances}}, k, metric);
    }

    std::unique_ptr<PreparedCentroids> prepare(
            const float* centroids, int64_t k, int64_t d, Metric metric) const override {
        return keep_centroids(device_, centroids, k, d, metric);
    }

    void assign_batch(
            const std::vector<Assignment>& problems, int64_t k, Metric metric) const override {
        const DeviceGuard guard(device_);
        const Points& first = problems.front().points;
        const auto batch = static_cast<int64_t>(problems.size());
        const int64_t bytes = assign_bytes(batch, first.n(), k, first.view(), Method::direct);
        const int64_t limit = problems.front().memory_limit;
        const bool together = batch > 1 && batch <= kMostProblems &&
                              batch * first.n() <= kMostRows &&
                              direct_pays(batch, first.n(), k, first.d()) &&
                              (limit == 0 || bytes <= limit) && has_room(bytes);
        if (!together || !assign_together(problems, k, metric)) {
            for (const Assignment& problem : problems) {
                assign_in_chunks(problem, k, metric);
            }
        }
    }

   private:
    const int device_;
    const std::string name_;
    const pid_t process_;
    mutable std::atomic<bool> started_{false};
};

} // namespace

std::vector<const Backend*> backends() {
    static const std::vector<std::unique_ptr<CudaBackend>> instances = [] {
        std::vector<std::unique_ptr<CudaBackend>> made;
        for (int device = 0; device < device_count(); device++) {
            if (device_info(device).major >= 8) {
                made.push_back(std::make_unique<CudaBackend>(device));
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
