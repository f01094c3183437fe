#include <faiss_flash/cuda/runtime/check.h>
#include <faiss_flash/cuda/runtime/graph.h>
#include <faiss_flash/cuda/runtime/pool.h>

#include <algorithm>
#include <cstdint>
#include <limits>
#include <map>
#include <mutex>
#include <string>
#include <vector>

namespace faiss_flash::cuda {

namespace {

/// Things to be used again, a few of each kind. Never destroyed: the driver may be gone by then.
template <class Kind, class Thing, size_t kMost>
class Kept {
   public:
    bool take(const Kind& kind, Thing& thing) noexcept {
        const std::lock_guard<std::mutex> lock(mutex_);
        const auto found = things_.find(kind);
        if (found == things_.end() || found->second.empty()) {
            return false;
        }
        thing = found->second.back();
        found->second.pop_back();
        return true;
    }
    bool keep(const Kind& kind, Thing thing) noexcept {
        try {
            const std::lock_guard<std::mutex> lock(mutex_);
            std::vector<Thing>& things = things_[kind];
            if (things.size() < kMost) {
                things.push_back(thing);
                return true;
            }
        } catch (const std::bad_alloc&) { // then it is not kept
        }
        return false;
    }

   private:
    std::mutex mutex_;
    std::map<Kind, std::vector<Thing>> things_;
};

Kept<int, cudaStream_t, 8>& streams() {
    static auto* kept = new Kept<int, cudaStream_t, 8>;
    return *kept;
}

Kept<int, cudaEvent_t, 64>& events() {
    static auto* kept = new Kept<int, cudaEvent_t, 64>;
    return *kept;
}

using KeptBlocks = Kept<size_t, void*, 64>;

KeptBlocks& pinned() {
    static auto* kept = new KeptBlocks;
    return *kept;
}

int current_device() {
    int device = 0;
    check(cudaGetDevice(&device), "asking for the current device");
    return device;
}

struct Pool {
    cudaMemPool_t memory = nullptr;
    size_t kept = 0; // bytes that stay between calls
};

Pool make_pool(int device) {
    cudaMemPoolProps properties{};
    properties.allocType = cudaMemAllocationTypePinned;
    properties.location.type = cudaMemLocationTypeDevice;
    properties.location.id = device;
    size_t free = 0;
    size_t total = 0;
    check(cudaMemGetInfo(&free, &total), "asking for the device's memory");
    Pool pool;
    pool.kept = std::max(size_t{256} << 20, total / 32);
    check(cudaMemPoolCreate(&pool.memory, &properties), "making a pool of device memory");
    uint64_t everything = std::numeric_limits<uint64_t>::max();
    check(cudaMemPoolSetAttribute(pool.memory, cudaMemPoolAttrReleaseThreshold, &everything),
          "setting up a pool of device memory");
    return pool;
}

/// Of the current device.
Pool device_pool() {
    static std::mutex mutex;
    static auto* pools = new std::map<int, Pool>;
    const int device = current_device();
    const std::lock_guard<std::mutex> lock(mutex);
    Pool& pool = (*pools)[device];
    if (!pool.memory) {
        pool = make_pool(device);
    }
    return pool;
}

int64_t pool_attribute(cudaMemPoolAttr attribute) {
    uint64_t value = 0;
    check(cudaMemPoolGetAttribute(memory_pool(), attribute, &value), "asking the memory pool");
    return static_cast<int64_t>(value);
}

int64_t unused_pool_bytes() {
    return pool_attribute(cudaMemPoolAttrReservedMemCurrent) -
           pool_attribute(cudaMemPoolAttrUsedMemCurrent);
}

bool is_captured(cudaStream_t stream) {
    cudaStreamCaptureStatus status{};
    check(cudaStreamIsCapturing(stream, &status), "asking a stream whether it is captured");
    return status != cudaStreamCaptureStatusNone;
}

[[noreturn]] void throw_out_of_memory(const std::string& what, int64_t bytes) {
    throw OutOfDeviceMemory(
            what + ": wanted " + std::to_string(bytes) + " bytes, " +
            std::to_string(free_device_bytes()) + " of the device are free");
}

/// What graphs and the pool keep for later goes back to the device.
void release_everything(cudaStream_t stream) {
    check(cudaStreamSynchronize(stream), "waiting for device memory");
    check(cudaDeviceGraphMemTrim(current_device()), "giving back the memory of graphs");
    check(cudaMemPoolTrimTo(memory_pool(), 0), "giving back device memory");
}

} // namespace

std::shared_mutex& capture_mutex() {
    static auto* mutex = new std::shared_mutex;
    return *mutex;
}

cudaMemPool_t memory_pool() {
    return device_pool().memory;
}

void* take_device(size_t bytes, cudaStream_t stream) {
    void* memory = nullptr;
    cudaError_t status = cudaMallocFromPoolAsync(&memory, bytes, memory_pool(), stream);
    if (status == cudaErrorMemoryAllocation) {
        cudaGetLastError();
        if (!is_captured(stream)) { // nothing may be waited for there
            release_everything(stream);
            status = cudaMallocFromPoolAsync(&memory, bytes, memory_pool(), stream);
        }
        if (status == cudaErrorMemoryAllocation) {
            cudaGetLastError();
            throw_out_of_memory("device memory", static_cast<int64_t>(bytes));
        }
    }
    check(status, "allocating device memory");
    return memory;
}

void give_back_device(void* memory, cudaStream_t stream) noexcept {
    cudaFreeAsync(memory, stream);
}

void trim_memory_pool() noexcept {
    try {
        const Pool pool = device_pool();
        if (pool_attribute(cudaMemPoolAttrReservedMemCurrent) > static_cast<int64_t>(pool.kept)) {
            cudaMemPoolTrimTo(pool.memory, pool.kept);
        }
    } catch (const std::exception&) { // it is kept, then
    }
}

int64_t free_device_bytes() {
    size_t free = 0;
    size_t total = 0;
    check(cudaMemGetInfo(&free, &total), "asking for free memory");
    return static_cast<int64_t>(free) + unused_pool_bytes();
}

bool has_room(int64_t bytes) {
    return bytes <= unused_pool_bytes() || bytes <= free_device_bytes();
}

void require_room(const char* what, int64_t bytes) {
    if (!has_room(bytes)) {
        throw_out_of_memory(what, bytes);
    }
}

void require_within(int64_t limit, const char* what, int64_t bytes) {
    if (limit > 0 && bytes > limit) {
        throw OutOfDeviceMemory(
                "memory_limit=" + std::to_string(limit) + ": " + what + " wants " +
                std::to_string(bytes) + " bytes of device memory");
    }
}

cudaStream_t take_stream() {
    cudaStream_t stream = nullptr;
    if (!streams().take(current_device(), stream)) {
        check(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "creating a stream");
    }
    return stream;
}

void give_back_stream(cudaStream_t stream) noexcept {
    int device = 0;
    cudaGetDevice(&device);
    if (!streams().keep(device, stream)) {
        cudaStreamDestroy(stream);
    }
}

cudaEvent_t take_event() {
    cudaEvent_t event = nullptr;
    if (!events().take(current_device(), event)) {
        check(cudaEventCreateWithFlags(&event, cudaEventDisableTiming), "creating an event");
    }
    return event;
}

void give_back_event(cudaEvent_t event) noexcept {
    int device = 0;
    cudaGetDevice(&device);
    if (!events().keep(device, event)) {
        cudaEventDestroy(event);
    }
}

void* take_pinned(size_t bytes) {
    void* memory = nullptr;
    if (bytes <= kPinnedBlock && pinned().take(kPinnedBlock, memory)) {
        return memory;
    }
    const size_t wanted = bytes <= kPinnedBlock ? kPinnedBlock : bytes;
    cudaError_t status = cudaMallocHost(&memory, wanted);
    if (status == cudaErrorMemoryAllocation) {
        cudaGetLastError();
        for (void* kept = nullptr; pinned().take(kPinnedBlock, kept);) {
            cudaFreeHost(kept);
        }
        status = cudaMallocHost(&memory, wanted);
        if (status == cudaErrorMemoryAllocation) {
            cudaGetLastError();
            throw_out_of_memory("page-locked memory of the host", static_cast<int64_t>(wanted));
        }
    }
    check(status, "allocating page-locked memory");
    return memory;
}

void give_back_pinned(void* memory, size_t bytes) noexcept {
    if (bytes > kPinnedBlock || !pinned().keep(kPinnedBlock, memory)) {
        cudaFreeHost(memory);
    }
}

} // namespace faiss_flash::cuda
