#include <faiss_flash/cuda/runtime/check.h>
#include <faiss_flash/cuda/runtime/pool.h>

#include <cstdint>
#include <limits>
#include <map>
#include <mutex>

namespace faiss_flash::cuda {

namespace {

constexpr size_t kKeptBytes = size_t{64} << 20;

cudaMemPool_t make_pool(int device) {
    cudaMemPoolProps properties{};
    properties.allocType = cudaMemAllocationTypePinned;
    properties.location.type = cudaMemLocationTypeDevice;
    properties.location.id = device;
    cudaMemPool_t pool{};
    check(cudaMemPoolCreate(&pool, &properties), "making a pool of device memory");
    uint64_t everything = std::numeric_limits<uint64_t>::max();
    check(cudaMemPoolSetAttribute(pool, cudaMemPoolAttrReleaseThreshold, &everything),
          "setting up a pool of device memory");
    return pool;
}

} // namespace

cudaMemPool_t memory_pool() {
    static std::mutex mutex;
    static std::map<int, cudaMemPool_t> pools;
    int device = 0;
    check(cudaGetDevice(&device), "asking for the current device");
    const std::lock_guard<std::mutex> lock(mutex);
    cudaMemPool_t& pool = pools[device];
    if (!pool) {
        pool = make_pool(device);
    }
    return pool;
}

void trim_memory_pool() {
    cudaMemPoolTrimTo(memory_pool(), kKeptBytes);
}

} // namespace faiss_flash::cuda
