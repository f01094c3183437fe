#include <support/failing_allocations.h>

#include <atomic>
#include <cstddef>
#include <cstdlib>
#include <new>

#ifdef FAISS_FLASH_TEST_CUDA
#include <cuda_runtime_api.h>

#include <map>
#include <mutex>
#endif

namespace faiss_flash::test {

namespace {

std::atomic<int64_t> left_of[3]; // allocations until one fails; below 1: none does
std::atomic<bool> later_fail{false};
std::atomic<bool> has_failed{false};
bool (*host_counts)() = nullptr;

bool fails(Allocated kind) {
    std::atomic<int64_t>& left = left_of[static_cast<int>(kind)];
    if (left.load(std::memory_order_relaxed) < 1) {
        return false;
    }
    if (kind == Allocated::host && host_counts && !host_counts()) {
        return false;
    }
    const int64_t mine = left.fetch_sub(1);
    if (mine != 1) {
        return false;
    }
    if (later_fail) {
        left = 1;
    }
    has_failed = true;
    return true;
}

void* allocate(std::size_t bytes, std::size_t alignment) {
    if (fails(Allocated::host)) {
        return nullptr;
    }
    const std::size_t size = (bytes + alignment) / alignment * alignment; // never 0
    return alignment <= alignof(std::max_align_t) ? std::malloc(size)
                                                  : std::aligned_alloc(alignment, size);
}

void* allocate_or_throw(std::size_t bytes, std::size_t alignment) {
    void* memory = allocate(bytes, alignment);
    if (!memory) {
        throw std::bad_alloc();
    }
    return memory;
}

} // namespace

void fail_allocation(Allocated kind, int64_t nth, bool all_later) {
    has_failed = false;
    later_fail = all_later;
    left_of[static_cast<int>(kind)] = nth;
}

bool stop_failing() {
    for (auto& left : left_of) {
        left = 0;
    }
    return has_failed;
}

void choose_host_allocations(bool (*counts)()) {
    host_counts = counts;
}

} // namespace faiss_flash::test

using faiss_flash::test::allocate;
using faiss_flash::test::allocate_or_throw;

constexpr std::size_t kPlain = alignof(std::max_align_t);

void* operator new(std::size_t bytes) {
    return allocate_or_throw(bytes, kPlain);
}
void* operator new[](std::size_t bytes) {
    return allocate_or_throw(bytes, kPlain);
}
void* operator new(std::size_t bytes, std::align_val_t alignment) {
    return allocate_or_throw(bytes, static_cast<std::size_t>(alignment));
}
void* operator new[](std::size_t bytes, std::align_val_t alignment) {
    return allocate_or_throw(bytes, static_cast<std::size_t>(alignment));
}
void* operator new(std::size_t bytes, const std::nothrow_t&) noexcept {
    return allocate(bytes, kPlain);
}
void* operator new[](std::size_t bytes, const std::nothrow_t&) noexcept {
    return allocate(bytes, kPlain);
}
void operator delete(void* memory) noexcept {
    std::free(memory);
}
void operator delete[](void* memory) noexcept {
    std::free(memory);
}
void operator delete(void* memory, std::size_t) noexcept {
    std::free(memory);
}
void operator delete[](void* memory, std::size_t) noexcept {
    std::free(memory);
}
void operator delete(void* memory, std::align_val_t) noexcept {
    std::free(memory);
}
void operator delete[](void* memory, std::align_val_t) noexcept {
    std::free(memory);
}
void operator delete(void* memory, std::size_t, std::align_val_t) noexcept {
    std::free(memory);
}
void operator delete[](void* memory, std::size_t, std::align_val_t) noexcept {
    std::free(memory);
}

#ifdef FAISS_FLASH_TEST_CUDA

namespace {

std::mutex pinned_mutex;
std::map<void*, std::size_t>* pinned_blocks = new std::map<void*, std::size_t>;

} // namespace

extern "C" {
cudaError_t __real_cudaMallocFromPoolAsync(void**, size_t, cudaMemPool_t, cudaStream_t);
cudaError_t __wrap_cudaMallocFromPoolAsync(
        void** memory, size_t bytes, cudaMemPool_t pool, cudaStream_t stream) {
    return faiss_flash::test::fails(faiss_flash::test::Allocated::device)
                   ? cudaErrorMemoryAllocation
                   : __real_cudaMallocFromPoolAsync(memory, bytes, pool, stream);
}

cudaError_t __real_cudaMallocHost(void**, size_t);
cudaError_t __wrap_cudaMallocHost(void** memory, size_t bytes) {
    if (faiss_flash::test::fails(faiss_flash::test::Allocated::pinned)) {
        return cudaErrorMemoryAllocation;
    }
    const cudaError_t status = __real_cudaMallocHost(memory, bytes);
    if (status == cudaSuccess) {
        const std::lock_guard<std::mutex> lock(pinned_mutex);
        (*pinned_blocks)[*memory] = bytes;
    }
    return status;
}

cudaError_t __real_cudaFreeHost(void*);
cudaError_t __wrap_cudaFreeHost(void* memory) {
    const std::lock_guard<std::mutex> lock(pinned_mutex);
    pinned_blocks->erase(memory);
    return __real_cudaFreeHost(memory);
}
}

int64_t faiss_flash::test::pinned_bytes() {
    const std::lock_guard<std::mutex> lock(pinned_mutex);
    int64_t bytes = 0;
    for (const auto& [memory, size] : *pinned_blocks) {
        bytes += static_cast<int64_t>(size);
    }
    return bytes;
}

#endif
