/// A point in a stream's work, and its time.
#pragma once

#include <faiss_flash/core/interrupt.h>
#include <faiss_flash/cuda/runtime/check.h>
#include <faiss_flash/cuda/runtime/pool.h>

namespace faiss_flash::cuda {

class Event {
   public:
    Event() : event_(take_event()) {}
    Event(const Event&) = delete;
    Event& operator=(const Event&) = delete;
    ~Event() { give_back_event(event_); }

    /// In a stream that is being captured the graph's replays record it.
    void record(cudaStream_t stream) {
        cudaStreamCaptureStatus status{};
        check(cudaStreamIsCapturing(stream, &status), "asking a stream whether it is captured");
        const unsigned flags = status == cudaStreamCaptureStatusNone ? cudaEventRecordDefault
                                                                     : cudaEventRecordExternal;
        check(cudaEventRecordWithFlags(event_, stream, flags), "recording an event");
    }
    /// Asks meanwhile whether the caller wants to stop.
    void wait() const {
        cudaError_t status = cudaErrorNotReady;
        while (status == cudaErrorNotReady) {
            poll_if_due();
            status = cudaEventQuery(event_);
        }
        check(status, "waiting for the device");
    }

    /// The same where nothing may throw.
    void settle() const noexcept { cudaEventSynchronize(event_); }

    /// Seconds from an earlier event; both must be over.
    double seconds_since(const Event& earlier) const {
        float milliseconds = 0;
        check(cudaEventElapsedTime(&milliseconds, earlier.event_, event_), "reading an event");
        return milliseconds * 1e-3;
    }

   private:
    const cudaEvent_t event_;
};

} // namespace faiss_flash::cuda
