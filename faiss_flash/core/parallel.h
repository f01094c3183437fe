/// The one parallel loop: over blocks, stopped by exceptions and interrupts, safe after a fork.
#pragma once

#include <faiss_flash/core/interrupt.h>

#include <omp.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <exception>

namespace faiss_flash {

/// Threads that a loop of the calling thread may use. One in a process that was forked off one
/// with threads: OpenMP still counts on those, which are not in the child, and would wait for them.
int loop_threads();

/// While one lives, OpenMP, and a BLAS over it, use the calling thread alone.
class OneThread {
   public:
    OneThread() : before_(omp_get_max_threads()) { omp_set_num_threads(1); }
    ~OneThread() { omp_set_num_threads(before_); }
    OneThread(const OneThread&) = delete;
    OneThread& operator=(const OneThread&) = delete;

   private:
    const int before_;
};

/// Calls body(thread) on the calling thread, as number 0, and on up to most - 1 others. What one of
/// them throws reaches the caller once all are through: the body sees to it that they end soon.
template <class Body>
void on_threads(int64_t most, const Body& body) {
    if (loop_threads() == 1) {
        const OneThread alone;
        body(0);
        return;
    }
    std::exception_ptr failure;
    // All of OpenMP's threads, though some have nothing to do: it would end those that a smaller
    // team does not need, and start them anew for the next loop.
#pragma omp parallel if (most > 1)
    if (const int thread = omp_get_thread_num(); thread < most) {
        try {
            body(thread);
        } catch (...) {
#pragma omp critical(faiss_flash_on_threads)
            failure = std::current_exception();
        }
    }
    if (failure) {
        std::rethrow_exception(failure);
    }
}

/// Every thread calls make() once for a worker of its own, then worker(block) for the blocks it
/// gets. The first exception stops the loop and reaches the caller; so does what the calling
/// thread's poll_if_due() throws between two of its blocks.
template <class Make>
void for_each_block(int64_t blocks, Make make) {
    std::atomic<int64_t> next{0};
    on_threads(blocks, [&](int thread) {
        try {
            auto worker = make();
            for (int64_t block = next++; block < blocks; block = next++) {
                if (thread == 0) {
                    poll_if_due();
                }
                worker(block);
            }
        } catch (...) {
            next = blocks;
            throw;
        }
    });
}

/// Calls body(first, end) for pieces of `each` of the numbers 0 .. n - 1.
template <class Body>
void for_each_range(int64_t n, int64_t each, const Body& body) {
    for_each_block((n + each - 1) / each, [&] {
        return [&](int64_t block) { body(block * each, std::min(n, (block + 1) * each)); };
    });
}

} // namespace faiss_flash
