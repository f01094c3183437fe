/// Device memory of one clustering, dealt out of one block: what it takes is known before it is
/// taken, and nothing is taken later.
///
/// Whatever needs memory takes it from an arena in its constructor, and does nothing else there.
/// Constructed over an arena without a block it only tells how much that is; a second one is
/// constructed over a block of so many bytes.
#pragma once

#include <faiss_flash/cuda/runtime/buffer.h>

#include <algorithm>
#include <cstdint>
#include <utility>

namespace faiss_flash::cuda {

class Arena {
   public:
    /// Counts, and gives out null.
    Arena() = default;
    /// A block of so many bytes, as another arena has counted.
    Arena(int64_t bytes, cudaStream_t stream)
        : block_(bytes > 0 ? Buffer<uint8_t>(static_cast<size_t>(bytes), stream)
                           : Buffer<uint8_t>()) {}
    Arena(Arena&&) = default;
    Arena& operator=(Arena&&) = default;

    /// Uninitialised memory for count values, of the arena's own lifetime.
    template <class T>
    T* take(int64_t count) {
        constexpr int64_t kAlignment = 256; // as CUDA's own allocations have
        const int64_t at = taken_;
        taken_ += (count * static_cast<int64_t>(sizeof(T)) + kAlignment - 1) / kAlignment *
                  kAlignment;
        most_ = std::max(most_, taken_);
        return block_.get() ? reinterpret_cast<T*>(block_.get() + at) : nullptr;
    }

    /// The most that has been taken at a time.
    int64_t bytes() const { return most_; }

    /// What is taken while one lives is taken again by what comes after it: memory of steps that
    /// follow each other. Whoever's steps these are holds a Steps around them.
    class Turn {
       public:
        explicit Turn(Arena& arena) : arena_(arena), before_(arena.taken_) {}
        Turn(const Turn&) = delete;
        Turn& operator=(const Turn&) = delete;
        ~Turn() { arena_.taken_ = before_; }

       private:
        Arena& arena_;
        const int64_t before_;
    };

    /// What is taken after one is apart from all that was taken while it lived, in a Turn or not.
    class Steps {
       public:
        explicit Steps(Arena& arena)
            : arena_(arena), most_before_(std::exchange(arena.most_, arena.taken_)) {}
        Steps(const Steps&) = delete;
        Steps& operator=(const Steps&) = delete;
        ~Steps() {
            arena_.taken_ = arena_.most_;
            arena_.most_ = std::max(arena_.most_, most_before_);
        }

       private:
        Arena& arena_;
        const int64_t most_before_;
    };

   private:
    Buffer<uint8_t> block_;
    int64_t taken_ = 0;
    int64_t most_ = 0;
};

/// Bytes of device memory of what make(arena) constructs.
template <class Make>
int64_t bytes_of(const Make& make) {
    Arena arena;
    make(arena);
    return arena.bytes();
}

/// What make(arena) constructs, with the memory that it needs.
template <class Thing>
class Allocated {
   public:
    template <class Make>
    Allocated(cudaStream_t stream, const Make& make)
        : arena_(bytes_of(make), stream), thing_(make(arena_)) {}
    Thing& operator*() { return thing_; }
    const Thing& operator*() const { return thing_; }
    Thing* operator->() { return &thing_; }
    const Thing* operator->() const { return &thing_; }

   private:
    Arena arena_;
    Thing thing_;
};

} // namespace faiss_flash::cuda
