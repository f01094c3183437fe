#include <faiss_flash/cuda/backend.h>

#include <faiss_flash/cuda/device_info.h>
#include <faiss_flash/cuda/exact/assign.h>
#include <faiss_flash/cuda/runtime/check.h>
#include <faiss_flash/cuda/runtime/stream.h>
#include <faiss_flash/cuda/update/reduce.h>
#include <faiss_flash/cuda/update/update.h>

#include <unistd.h>

#include <algorithm>
#include <chrono>

namespace faiss_flash::cuda {

namespace {

constexpr int64_t kMostColumns = 32768; // a row in shared memory, as float32

template <class T>
void copy(T* to, const T* from, int64_t count, cudaMemcpyKind kind, cudaStream_t stream) {
    check(cudaMemcpyAsync(to, from, static_cast<size_t>(count) * sizeof(T), kind, stream),
          "copying between host and device");
}

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

class CudaSession final : public LloydSession {
   public:
    CudaSession(const Points& points, const float* weights, Metric metric)
        : LloydSession(points),
          metric_(metric),
          points_(points, 0, points.n(), stream_.get()),
          weights_(copy_weights(weights, points.n(), stream_.get())),
          update_(points_.rows(),
                  weights ? weights_.get() : nullptr,
                  points.n(),
                  points.d(),
                  stream_.get()),
          weighted_(weights != nullptr),
          ids_(static_cast<size_t>(points.n()), stream_.get()),
          values_(static_cast<size_t>(points.n()), stream_.get()) {}

    void step(const float* centroids, int64_t k, StepResult& result) override {
        const cudaStream_t stream = stream_.get();
        const int64_t d = points_.d();
        const auto start = std::chrono::steady_clock::now();
        const Buffer<float> table(static_cast<size_t>(k * d), stream);
        const Buffer<int64_t> counters(static_cast<size_t>(k + 1), stream); // sizes, decided
        const Buffer<double> sums(static_cast<size_t>(k + 1), stream);      // weights, objective
        const Buffer<float> means(static_cast<size_t>(k * d), stream);
        int64_t* decided = counters.get() + k;
        double* objective = sums.get() + k;
        copy(table.get(), centroids, k * d, cudaMemcpyHostToDevice, stream);
        check(cudaMemsetAsync(decided, 0, sizeof *decided, stream), "clearing a counter");
        assign_exact(
                points_, table.get(), k, metric_, {ids_.get(), values_.get(), decided}, stream);
        sum(values_.get(), points_.n(), objective, stream);
        result.decided = 0;
        copy(&result.decided, decided, 1, cudaMemcpyDeviceToHost, stream);
        copy(&result.objective, objective, 1, cudaMemcpyDeviceToHost, stream);
        const std::chrono::duration<double> spent = std::chrono::steady_clock::now() - start;
        result.search_seconds = spent.count();

        update_.run(ids_.get(), k, {counters.get(), sums.get(), means.get()}, stream);
        result.sizes.resize(static_cast<size_t>(k));
        result.weights.resize(static_cast<size_t>(k));
        result.means.resize(static_cast<size_t>(k * d));
        copy(result.sizes.data(), counters.get(), k, cudaMemcpyDeviceToHost, stream);
        copy(result.weights.data(), sums.get(), k, cudaMemcpyDeviceToHost, stream);
        copy(result.means.data(), means.get(), k * d, cudaMemcpyDeviceToHost, stream);
        check(cudaStreamSynchronize(stream), "an iteration on the device");
    }

   private:
    static Buffer<float> copy_weights(const float* weights, int64_t n, cudaStream_t stream) {
        Buffer<float> buffer(static_cast<size_t>(weights ? n : 1), stream);
        if (weights) {
            copy(buffer.get(), weights, n, cudaMemcpyHostToDevice, stream);
        }
        return buffer;
    }

    Stream stream_;
    const Metric metric_;
    DevicePoints points_;
    Buffer<float> weights_;
    CentroidUpdate update_;
    bool weighted_;
    Buffer<int32_t> ids_;
    Buffer<double> values_;
};

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
