#include <faiss_flash/cuda/runtime/check.h>
#include <faiss_flash/cuda/runtime/pool.h>

#include <cstdint>
#include <limits>
#include <map>
#include <mutex>
#include <vector>

namespace faiss_flash::cuda {

namespace {

constexpr size_t kKeptBytes = size_t{256} << 20;
constexpr size_t kKeptPinnedBytes = size_t{16} << 20; // the staging of host rows

/// Things to be used again, a few of each kind. Never destroyed: the driver may be gone by then.
template <class Kind, class Thing>
class Kept {
   public:
    bool take(const Kind& kind, Thing& thing) {
        const std::lock_guard<std::mutex> lock(mutex_);
        std::vector<Thing>& things = things_[kind];
        if (things.empty()) {
            return false;
        }
        thing = things.back();
        things.pop_back();
        return true;
    }
    bool keep(const Kind& kind, Thing thing) {
        constexpr size_t kMost = 8;
        const std::lock_guard<std::mutex> lock(mutex_);
        std::vector<Thing>& things = things_[kind];
        if (things.size() == kMost) {
            return false;
        }
        things.push_back(thing);
        return true;
    }

   private:
    std::mutex mutex_;
    std::map<Kind, std::vector<Thing>> things_;
};

Kept<int, cudaStream_t>& streams() {
    static auto* kept = new Kept<int, cudaStream_t>;
    return *kept;
}

Kept<size_t, void*>& pinned() {
    static auto* kept = new Kept<size_t, void*>;
    return *kept;
}

int current_device() {
    int device = 0;
    check(cudaGetDevice(&device), "asking for the current device");
    return device;
}

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
    const int device = current_device();
    const std::lock_guard<std::mutex> lock(mutex);
    cudaMemPool_t& pool = pools[device];
    if (!pool) {
        pool = make_pool(device);
    }
    return pool;
}

void trim_memory_pool() {
    uint64_t held = 0;
    if (cudaMemPoolGetAttribute(memory_pool(), cudaMemPoolAttrReservedMemCurrent, &held) !=
                cudaSuccess ||
        held > kKeptBytes) {
        cudaMemPoolTrimTo(memory_pool(), kKeptBytes);
    }
}

cudaStream_t take_stream() {
    cudaStream_t stream = nullptr;
    if (!streams().take(current_device(), stream)) {
        check(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "creating a stream");
    }
    return stream;
}

void give_back_stream(cudaStream_t stream) {
    int device = 0;
    cudaGetDevice(&device);
    if (!streams().keep(device, stream)) {
        cudaStreamDestroy(stream);
    }
}

void* take_pinned(size_t bytes) {
    void* memory = nullptr;
    if (!pinned().take(bytes, memory)) {
        check(cudaMallocHost(&memory, bytes), "allocating page-locked memory");
    }
    return memory;
}

void give_back_pinned(void* memory, size_t bytes) {
    if (bytes > kKeptPinnedBytes || !pinned().keep(bytes, memory)) {
        cudaFreeHost(memory);
    }
}

} // namespace faiss_flash::cuda
