#include <faiss_flash/cuda/session.h>

#include <faiss_flash/cuda/exact/assign.h>
#include <faiss_flash/cuda/runtime/check.h>
#include <faiss_flash/cuda/runtime/copy.h>
#include <faiss_flash/cuda/update/reduce.h>

#include <algorithm>
#include <vector>

namespace faiss_flash::cuda {

namespace {

Buffer<float> copy_weights(const float* weights, int64_t n, cudaStream_t stream) {
    Buffer<float> buffer(static_cast<size_t>(weights ? n : 1), stream);
    if (weights) {
        copy(buffer.get(), weights, n, cudaMemcpyHostToDevice, stream);
    }
    return buffer;
}

} // namespace

CudaSession::CudaSession(const Points& points, const float* weights, Metric metric)
    : LloydSession(points),
      metric_(metric),
      points_(points, 0, points.n(), stream_.get()),
      weights_(copy_weights(weights, points.n(), stream_.get())),
      update_(points_.rows(),
              weights ? weights_.get() : nullptr,
              points.n(),
              points.d(),
              stream_.get()),
      ids_(static_cast<size_t>(points.n()), stream_.get()),
      values_(static_cast<size_t>(points.n()), stream_.get()) {
    for (Slot& slot : slots_) {
        check(cudaMallocHost(reinterpret_cast<void**>(&slot.host_stats), sizeof(ClusterStats)),
              "allocating page-locked memory");
        for (cudaEvent_t* event : {&slot.begin, &slot.assigned, &slot.end}) {
            check(cudaEventCreate(event), "creating an event");
        }
    }
}

CudaSession::~CudaSession() {
    cudaStreamSynchronize(stream_.get());
    for (Slot& slot : slots_) {
        for (cudaEvent_t event : {slot.begin, slot.assigned, slot.end}) {
            if (event) {
                cudaEventDestroy(event);
            }
        }
        cudaFreeHost(slot.host_stats);
    }
}

void CudaSession::make_slots(int64_t k) {
    if (k == k_) {
        return;
    }
    k_ = k;
    const cudaStream_t stream = stream_.get();
    for (Slot& slot : slots_) {
        const auto values = static_cast<size_t>(k * d_);
        slot.centroids = Buffer<float>(values, stream);
        slot.means = Buffer<float>(values, stream);
        slot.sizes = Buffer<int64_t>(static_cast<size_t>(k), stream);
        slot.weights = Buffer<double>(static_cast<size_t>(k), stream);
        slot.stats = Buffer<ClusterStats>(1, stream);
    }
}

void CudaSession::assign_and_update(Slot& slot) {
    const cudaStream_t stream = stream_.get();
    check(cudaEventRecord(slot.begin, stream), "recording an event");
    check(cudaMemsetAsync(slot.stats.get(), 0, sizeof(ClusterStats), stream),
          "clearing statistics");
    assign_exact(
            points_,
            slot.centroids.get(),
            k_,
            metric_,
            {ids_.get(), values_.get(), &slot.stats.get()->decided},
            stream);
    sum(values_.get(), n_, &slot.stats.get()->objective, stream);
    check(cudaEventRecord(slot.assigned, stream), "recording an event");
    update_.run(ids_.get(), k_, {slot.sizes.get(), slot.weights.get(), slot.means.get()}, stream);
}

double CudaSession::search_seconds(const Slot& slot) {
    float milliseconds = 0;
    check(cudaEventElapsedTime(&milliseconds, slot.begin, slot.assigned), "reading an event");
    return milliseconds * 1e-3;
}

void CudaSession::step(const float* centroids, int64_t k, StepResult& result) {
    make_slots(k);
    const cudaStream_t stream = stream_.get();
    Slot& slot = slots_[0];
    copy(slot.centroids.get(), centroids, k * d_, cudaMemcpyHostToDevice, stream);
    assign_and_update(slot);
    result.sizes.resize(static_cast<size_t>(k));
    result.weights.resize(static_cast<size_t>(k));
    result.means.resize(static_cast<size_t>(k * d_));
    copy(slot.host_stats, slot.stats.get(), 1, cudaMemcpyDeviceToHost, stream);
    copy(result.sizes.data(), slot.sizes.get(), k, cudaMemcpyDeviceToHost, stream);
    copy(result.weights.data(), slot.weights.get(), k, cudaMemcpyDeviceToHost, stream);
    copy(result.means.data(), slot.means.get(), k * d_, cudaMemcpyDeviceToHost, stream);
    check(cudaStreamSynchronize(stream), "an iteration on the device");
    result.search_seconds = search_seconds(slot);
    result.objective = slot.host_stats->objective;
    result.decided = slot.host_stats->decided;
}

void CudaSession::start(const float* centroids, int64_t k, const CentroidRules& rules) {
    make_slots(k);
    rules_ = rules;
    asked_ = waited_ = 0;
    std::vector<float> first(centroids, centroids + k * d_);
    apply_rules(rules, k, d_, first.data());
    // A restart may have left an iteration running that nobody waits for.
    const cudaStream_t stream = stream_.get();
    copy(slot_of(0).centroids.get(), first.data(), k * d_, cudaMemcpyHostToDevice, stream);
    check(cudaStreamSynchronize(stream), "the first centroids");
}

void CudaSession::enqueue() {
    launch(asked_++);
}

void CudaSession::launch(int64_t iteration) {
    Slot& slot = slot_of(iteration);
    const cudaStream_t stream = stream_.get();
    assign_and_update(slot);
    describe_clusters(
            slot.sizes.get(), slot.weights.get(), rules_.frozen, k_, slot.stats.get(), stream);
    next_centroids(
            slot.centroids.get(),
            slot.means.get(),
            rules_,
            k_,
            d_,
            slot_of(iteration + 1).centroids.get(),
            stream);
    copy(slot.host_stats, slot.stats.get(), 1, cudaMemcpyDeviceToHost, stream);
    check(cudaEventRecord(slot.end, stream), "recording an event");
}

IterationStats CudaSession::wait() {
    Slot& slot = slot_of(waited_);
    check(cudaEventSynchronize(slot.end), "an iteration on the device");
    const ClusterStats& told = *slot.host_stats;
    IterationStats stats;
    stats.time_search = search_seconds(slot);
    stats.objective = told.objective;
    stats.decided = told.decided;
    stats.imbalance_factor = imbalance_factor(told.squares, n_, k_);
    if (told.empty > 0) {
        patch(waited_, stats);
    }
    waited_++;
    return stats;
}

void CudaSession::patch(int64_t iteration, IterationStats& stats) {
    const cudaStream_t stream = stream_.get();
    Slot& slot = slot_of(iteration);
    const auto count = static_cast<size_t>(k_);
    std::vector<double> weights(count);
    std::vector<float> centroids(count * static_cast<size_t>(d_));
    std::vector<float> frozen(
            static_cast<size_t>(rules_.frozen * d_)); // have had the rules already
    const auto kept = static_cast<int64_t>(frozen.size());
    float* next = slot_of(iteration + 1).centroids.get();
    copy(weights.data(), slot.weights.get(), k_, cudaMemcpyDeviceToHost, stream);
    copy(centroids.data(), slot.means.get(), k_ * d_, cudaMemcpyDeviceToHost, stream);
    copy(frozen.data(), next, kept, cudaMemcpyDeviceToHost, stream);
    check(cudaStreamSynchronize(stream), "an iteration on the device");
    stats.nsplit = finish_centroids(rules_, n_, k_, d_, weights, centroids.data());
    std::copy(frozen.begin(), frozen.end(), centroids.begin());
    copy(next, centroids.data(), k_ * d_, cudaMemcpyHostToDevice, stream);
    check(cudaStreamSynchronize(stream), "the patched centroids");
    for (int64_t again = iteration + 1; again < asked_; again++) {
        launch(again);
    }
}

void CudaSession::read_centroids(float* centroids) {
    const cudaStream_t stream = stream_.get();
    copy(centroids, slot_of(waited_).centroids.get(), k_ * d_, cudaMemcpyDeviceToHost, stream);
    check(cudaStreamSynchronize(stream), "reading the centroids");
}

} // namespace faiss_flash::cuda
