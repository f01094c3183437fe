#include <faiss_flash/cuda/backend.h>

#include <faiss_flash/cuda/device_info.h>
#include <faiss_flash/cuda/exact/assign.h>
#include <faiss_flash/cuda/runtime/check.h>
#include <faiss_flash/cuda/runtime/copy.h>
#include <faiss_flash/cuda/runtime/stream.h>
#include <faiss_flash/cuda/session.h>

#include <unistd.h>

#include <algorithm>
#include <vector>

namespace faiss_flash::cuda {

namespace {

constexpr int64_t kMostColumns = 32768; // a row in shared memory, as float32

/// Bytes of the exact assignment of n points to k centroids, beyond the points themselves.
int64_t workspace_bytes(int64_t n, int64_t d, int64_t k) {
    constexpr int64_t kAPoint = 48;          // scores, ids, values, the sort's arrays
    constexpr int64_t kACentroidColumn = 40; // tables, sums of two limbs, means
    return n * kAPoint + (k + 256) * (d + 16) * kACentroidColumn + (int64_t{64} << 20);
}

int64_t free_bytes() {
    size_t free = 0;
    size_t total = 0;
    check(cudaMemGetInfo(&free, &total), "asking for free memory");
    return static_cast<int64_t>(free);
}

class CudaBackend final : public Backend {
   public:
    explicit CudaBackend(const Backend& host) : host_(host), process_(getpid()) {}

    const char* name() const override { return "cuda"; }

    /// A process that was forked off cannot use the driver that its parent has started.
    bool reads(MemorySpace space) const override {
        return space != MemorySpace::device && getpid() == process_;
    }

    std::optional<NonFinite> find_non_finite(const Points& points) const override {
        return host_.find_non_finite(points);
    }

    std::unique_ptr<LloydSession> open(
            const Points& points, const float* weights, Metric metric) const override {
        // The session does not know k yet; n bounds it.
        const int64_t most_centroids = std::min<int64_t>(points.n(), 65536);
        const int64_t bytes = DevicePoints::bytes(points.n(), points.d()) +
                              workspace_bytes(points.n(), points.d(), most_centroids);
        if (points.d() > kMostColumns || points.n() > kMostRows || bytes > free_bytes()) {
            return host_.open(points, weights, metric);
        }
        return std::make_unique<CudaSession>(points, weights, metric);
    }

    void assign(
            const Points& points,
            const float* centroids,
            int64_t k,
            Metric metric,
            int64_t* ids,
            float* distances) const override {
        const int64_t d = points.d();
        const int64_t chunk = std::min(points.n(), std::max<int64_t>(1, kChunkBytes / (4 * d)));
        const int64_t bytes = DevicePoints::bytes(chunk, d) + workspace_bytes(chunk, d, k);
        if (points.n() == 0 || d > kMostColumns || bytes > free_bytes()) {
            host_.assign(points, centroids, k, metric, ids, distances);
            return;
        }
        const Stream stream;
        const Buffer<float> table(static_cast<size_t>(k * d), stream.get());
        copy(table.get(), centroids, k * d, cudaMemcpyHostToDevice, stream.get());
        const Buffer<int32_t> device_ids(static_cast<size_t>(chunk), stream.get());
        const Buffer<double> device_values(static_cast<size_t>(chunk), stream.get());
        const Buffer<int64_t> open(1, stream.get());
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
                    {device_ids.get(), device_values.get(), open.get()},
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

   private:
    static constexpr int64_t kMostRows = int64_t{1} << 30;
    static constexpr int64_t kChunkBytes = int64_t{512} << 20; // of points that assign() takes

    const Backend& host_;
    const pid_t process_;
};

} // namespace

const Backend* backend(const Backend& host) {
    if (device_count() == 0 || device_info().major < 8) {
        return nullptr;
    }
    static const CudaBackend instance(host);
    return &instance;
}

} // namespace faiss_flash::cuda
