/// Points in a stream's work, and their time.
#pragma once

#include <faiss_flash/core/interrupt.h>
#include <faiss_flash/cuda/runtime/check.h>
#include <faiss_flash/cuda/runtime/pool.h>

namespace faiss_flash::cuda {

/// A point in a stream's work; over from the start where none was recorded.
class StreamPoint {
   public:
    StreamPoint(const StreamPoint&) = delete;
    StreamPoint& operator=(const StreamPoint&) = delete;

    /// In a stream that is being captured the graph's replays record it.
    void record(cudaStream_t stream) {
        cudaStreamCaptureStatus status{};
        check(cudaStreamIsCapturing(stream, &status), "asking a stream whether it is captured");
        const unsigned flags = status == cudaStreamCaptureStatusNone ? cudaEventRecordDefault
                                                                     : cudaEventRecordExternal;
        check(cudaEventRecordWithFlags(event_, stream, flags), "recording an event");
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

   protected:
    explicit StreamPoint(cudaEvent_t event) : event_(event) {}
    ~StreamPoint() = default;

    const cudaEvent_t event_;
};

/// Of the device that is current where it is made and where it ends: it is kept for other calls.
class Event final : public StreamPoint {
   public:
    Event() : StreamPoint(take_event(false)) {}
    ~Event() { give_back_event(event_, false); }
};

class TimedEvent final : public StreamPoint {
   public:
    TimedEvent() : StreamPoint(take_event(true)) {}
    ~TimedEvent() { give_back_event(event_, true); }

    /// Seconds from an earlier event; both must be over.
    double seconds_since(const TimedEvent& earlier) const {
        float milliseconds = 0;
        check(cudaEventElapsedTime(&milliseconds, earlier.event_, event_), "reading an event");
        return milliseconds * 1e-3;
    }
};

} // namespace faiss_flash::cuda
