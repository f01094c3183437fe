/// A session whose every call goes to its own device, whatever the caller's is.
#pragma once

#include <faiss_flash/cuda/runtime/device_guard.h>
#include <faiss_flash/cuda/session.h>

#include <optional>
#include <vector>

namespace faiss_flash::cuda {

class SessionOnDevice final : public LloydSession {
   public:
    SessionOnDevice(
            int device,
            Assigner assigner,
            const std::vector<Problem>& problems,
            const Workload& workload,
            Metric metric)
        : LloydSession(problems.front().points, workload.k), device_(device) {
        const DeviceGuard guard(device_);
        session_.emplace(assigner, problems, workload, metric);
    }
    ~SessionOnDevice() override {
        try {
            const DeviceGuard guard(device_);
            session_.reset();
        } catch (const Error&) { // the device is lost, and all that was on it
        }
    }

    void step(const float* centroids, StepResult& result) override {
        const DeviceGuard guard(device_);
        session_->step(centroids, result);
    }
    void start(const float* centroids, const CentroidRules& rules) override {
        const DeviceGuard guard(device_);
        session_->start(centroids, rules);
    }
    int lookahead() const override { return session_->lookahead(); }
    void enqueue() override {
        const DeviceGuard guard(device_);
        session_->enqueue();
    }
    std::vector<IterationStats> wait() override {
        const DeviceGuard guard(device_);
        return session_->wait();
    }
    void read_centroids(float* centroids) override {
        const DeviceGuard guard(device_);
        session_->read_centroids(centroids);
    }

   private:
    const int device_;
    std::optional<CudaSession> session_;
};

} // namespace faiss_flash::cuda
