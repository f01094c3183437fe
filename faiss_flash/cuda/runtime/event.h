/// Points in a stream's work.
#pragma once

#include <faiss_flash/core/interrupt.h>
#include <faiss_flash/cuda/runtime/check.h>
#include <faiss_flash/cuda/runtime/pool.h>

namespace faiss_flash::cuda {

/// A point in a stream's work; over from the start where none was recorded. Of the device that is
/// current where it is made and where it ends: it is kept for other calls.
class Event {
   public:
    Event() : event_(take_event()) {}
    Event(const Event&) = delete;
    Event& operator=(const Event&) = delete;
    ~Event() { give_back_event(event_); }

    void record(cudaStream_t stream) {
        check(cudaEventRecord(event_, stream), "recording an event");
    }
    bool is_over() const {
        const cudaError_t status = cudaEventQuery(event_);
        if (status != cudaErrorNotReady) {
            check(status, "waiting for the device");
        }
        return status == cudaSuccess;
    }
    /// Asks meanwhile whether the caller wants to stop.
    void wait() const {
        while (!is_over()) {
            poll_if_due();
        }
    }

    /// Has the work that a stream gets from now on wait.
    void hold_back(cudaStream_t stream) const {
        check(cudaStreamWaitEvent(stream, event_), "waiting for a stream");
    }

    /// The same as wait() where nothing may throw.
    void settle() const noexcept { cudaEventSynchronize(event_); }

   private:
    const cudaEvent_t event_;
};

} // namespace faiss_flash::cuda
