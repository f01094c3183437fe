#include <faiss_flash/cuda/kept_centroids.h>

#include <faiss_flash/cuda/assign_rows.h>
#include <faiss_flash/cuda/runtime/buffer.h>
#include <faiss_flash/cuda/runtime/copy.h>
#include <faiss_flash/cuda/runtime/device_guard.h>
#include <faiss_flash/cuda/runtime/stream.h>

#include <unistd.h>

#include <exception>

namespace faiss_flash::cuda {

namespace {

/// In the memory of a stream of their own, which lives as long.
struct OnDevice {
    OnDevice(const float* centroids, int64_t count)
        : values(static_cast<size_t>(count), stream.get()) {
        copy(values.get(), centroids, count, cudaMemcpyHostToDevice, stream.get());
        // Assignments read them on other streams.
        check(cudaStreamSynchronize(stream.get()), "keeping centroids on the device");
    }

    const Stream stream;
    const Buffer<float> values;
};

class KeptCentroids final : public PreparedCentroids {
   public:
    KeptCentroids(int device, const float* centroids, int64_t k, int64_t d, Metric metric)
        : device_(device), k_(k), metric_(metric), process_(getpid()) {
        const DeviceGuard guard(device);
        on_device_ = new OnDevice(centroids, k * d);
    }
    KeptCentroids(const KeptCentroids&) = delete;
    KeptCentroids& operator=(const KeptCentroids&) = delete;

    /// Every assignment has waited for its own work. What cannot be given back, in a process that
    /// was forked off or behind a driver that has ended, is left alone.
    ~KeptCentroids() override {
        if (getpid() == process_) {
            try {
                const DeviceGuard guard(device_);
                delete on_device_;
            } catch (const std::exception&) { // left alone
            }
        }
    }

    void assign(const Points& points, int64_t* ids, float* distances) const override {
        if (points.n() == 0) {
            return;
        }
        const DeviceGuard guard(device_);
        assign_in_chunks({points, nullptr, ids, distances}, on_device_->values.get(), k_, metric_);
    }

   private:
    const int device_;
    const int64_t k_;
    const Metric metric_;
    const pid_t process_;
    const OnDevice* on_device_; // owned, but by no smart pointer: it may have to be left alone
};

} // namespace

std::unique_ptr<PreparedCentroids> keep_centroids(
        int device, const float* centroids, int64_t k, int64_t d, Metric metric) {
    return std::make_unique<KeptCentroids>(device, centroids, k, d, metric);
}

} // namespace faiss_flash::cuda
