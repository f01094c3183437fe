#include <faiss_flash/cuda/runtime/check.h>
#include <faiss_flash/cuda/runtime/shared_memory.h>

#include <mutex>
#include <set>
#include <utility>

namespace faiss_flash::cuda {

void allow_all_shared_memory(const void* kernel) {
    static std::mutex mutex;
    static auto* allowed = new std::set<std::pair<int, const void*>>;
    int device = 0;
    check(cudaGetDevice(&device), "asking for the current device");
    const std::lock_guard<std::mutex> lock(mutex);
    if (allowed->count({device, kernel}) > 0) {
        return;
    }
    int most = 0;
    cudaFuncAttributes attributes{};
    check(cudaDeviceGetAttribute(&most, cudaDevAttrMaxSharedMemoryPerBlockOptin, device),
          "asking for a block's shared memory");
    check(cudaFuncGetAttributes(&attributes, kernel), "asking for a kernel's shared memory");
    check(cudaFuncSetAttribute(
                  kernel,
                  cudaFuncAttributeMaxDynamicSharedMemorySize,
                  most - static_cast<int>(attributes.sharedSizeBytes)),
          "allowing a kernel shared memory");
    allowed->insert({device, kernel});
}

} // namespace faiss_flash::cuda
