/// A parallel loop over blocks that survives exceptions.
#pragma once

#include <atomic>
#include <cstdint>
#include <exception>

namespace faiss_flash::cpu {

/// Every thread calls make() once for a worker of its own, then worker(block) for the blocks it
/// gets. The first exception stops the loop and reaches the caller.
template <class Make>
void for_each_block(int64_t blocks, Make make) {
    std::atomic<int64_t> next{0};
    std::exception_ptr failure;
#pragma omp parallel if (blocks > 1)
    {
        try {
            auto worker = make();
            for (int64_t block = next++; block < blocks; block = next++) {
                worker(block);
            }
        } catch (...) {
            next = blocks;
#pragma omp critical(faiss_flash_for_each_block)
            failure = std::current_exception();
        }
    }
    if (failure) {
        std::rethrow_exception(failure);
    }
}

} // namespace faiss_flash::cpu
