/// Page-locked host memory for copies that overlap with the host's own work.
#pragma once

#include <faiss_flash/cuda/runtime/check.h>
#include <faiss_flash/cuda/runtime/event.h>
#include <faiss_flash/cuda/runtime/pool.h>

#include <cstddef>
#include <utility>

namespace faiss_flash::cuda {

template <class T>
class Pinned {
   public:
    Pinned() = default;
    explicit Pinned(size_t count)
        : bytes_(count * sizeof(T)), data_(static_cast<T*>(take_pinned(bytes_))) {}
    Pinned(Pinned&& other) noexcept
        : bytes_(other.bytes_), data_(std::exchange(other.data_, nullptr)) {}
    Pinned& operator=(Pinned&& other) noexcept {
        std::swap(bytes_, other.bytes_);
        std::swap(data_, other.data_);
        return *this;
    }
    ~Pinned() {
        if (data_) {
            give_back_pinned(data_, bytes_);
        }
    }
    T* get() const { return data_; }

   private:
    size_t bytes_ = 0;
    T* data_ = nullptr;
};

/// Two buffers that take turns.
template <class T>
class PinnedPair {
   public:
    explicit PinnedPair(size_t count) : data_{Pinned<T>(count), Pinned<T>(count)} {}
    PinnedPair(const PinnedPair&) = delete;
    PinnedPair& operator=(const PinnedPair&) = delete;
    /// Waits for the copies: an exception may have left them on their way.
    ~PinnedPair() {
        for (const Event& event : copied_) {
            event.settle();
        }
    }

    /// The buffer whose turn it is, as soon as its last copy is over.
    T* next() {
        turn_ ^= 1;
        copied_[turn_].wait();
        return data_[turn_].get();
    }
    /// The work queued on the stream so far uses the buffer.
    void in_use(cudaStream_t stream) { copied_[turn_].record(stream); }
    void wait() {
        for (const Event& event : copied_) {
            event.wait();
        }
    }

   private:
    Pinned<T> data_[2];
    Event copied_[2];
    int turn_ = 0;
};

} // namespace faiss_flash::cuda
