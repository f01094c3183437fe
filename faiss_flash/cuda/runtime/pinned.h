/// Page-locked host memory for copies that overlap with the host's own work.
#pragma once

#include <faiss_flash/cuda/runtime/event.h>
#include <faiss_flash/cuda/runtime/pool.h>

#include <cstddef>
#include <cstdint>
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

/// The last two pieces of a stream's work, such as copies from memory that others may free or
/// write afterwards.
class LastTwo {
   public:
    LastTwo() = default;
    LastTwo(const LastTwo&) = delete;
    LastTwo& operator=(const LastTwo&) = delete;
    /// Waits for both: an exception may have left them on their way.
    ~LastTwo() {
        for (const Event& event : queued_) {
            event.settle();
        }
    }

    /// 0 or 1: the place of the next piece, which that of the one before the last is.
    int place() const { return turn_; }
    bool place_is_free() const { return queued_[turn_].is_over(); }
    void wait_for_place() const { queued_[turn_].wait(); }
    /// The next piece is what was queued on the stream since.
    void queued(cudaStream_t stream) {
        queued_[turn_].record(stream);
        turn_ ^= 1;
    }
    void wait() const {
        for (const Event& event : queued_) {
            event.wait();
        }
    }

   private:
    Event queued_[2];
    int turn_ = 0;
};

/// Two blocks that take turns: while one is copied to the device, the other is filled.
class PinnedPair {
   public:
    explicit PinnedPair(size_t bytes) : bytes_(bytes) {}

    /// False while the block whose turn it is is copied.
    bool is_free() const { return copies_.place_is_free(); }
    /// The block whose turn it is. Small work needs no second one, and takes none.
    uint8_t* block() {
        Pinned<uint8_t>& block = blocks_[copies_.place()];
        if (!block.get()) {
            block = Pinned<uint8_t>(bytes_);
        }
        return block.get();
    }
    /// What was queued on the stream since copies the block; it is the other's turn.
    void queued(cudaStream_t stream) { copies_.queued(stream); }
    void wait() const { copies_.wait(); }

   private:
    const size_t bytes_;
    Pinned<uint8_t> blocks_[2];
    LastTwo copies_; // ends first
};

} // namespace faiss_flash::cuda
