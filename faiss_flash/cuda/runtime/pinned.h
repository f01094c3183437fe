/// Page-locked host memory for copies that overlap with the host's own work.
#pragma once

#include <faiss_flash/cuda/runtime/check.h>

#include <cstddef>

namespace faiss_flash::cuda {

/// Two buffers that take turns.
template <class T>
class PinnedPair {
   public:
    explicit PinnedPair(size_t count) : count_(count) {
        check(cudaMallocHost(reinterpret_cast<void**>(&data_), 2 * count * sizeof(T)),
              "allocating page-locked memory");
        for (cudaEvent_t& event : copied_) {
            check(cudaEventCreateWithFlags(&event, cudaEventDisableTiming), "creating an event");
        }
    }
    PinnedPair(const PinnedPair&) = delete;
    PinnedPair& operator=(const PinnedPair&) = delete;
    ~PinnedPair() {
        for (cudaEvent_t event : copied_) {
            if (event) {
                cudaEventSynchronize(event);
                cudaEventDestroy(event);
            }
        }
        cudaFreeHost(data_);
    }

    /// The buffer whose turn it is, as soon as its last copy is over.
    T* next() {
        turn_ ^= 1;
        check(cudaEventSynchronize(copied_[turn_]), "waiting for a copy");
        return data_ + static_cast<size_t>(turn_) * count_;
    }
    /// The work queued on the stream so far uses the buffer.
    void in_use(cudaStream_t stream) {
        check(cudaEventRecord(copied_[turn_], stream), "recording an event");
    }
    void wait() {
        for (cudaEvent_t event : copied_) {
            check(cudaEventSynchronize(event), "waiting for a copy");
        }
    }

   private:
    size_t count_;
    T* data_ = nullptr;
    cudaEvent_t copied_[2] = {};
    int turn_ = 0;
};

} // namespace faiss_flash::cuda
