#include <faiss_flash/cuda/device_info.h>
#include <faiss_flash/cuda/runtime/check.h>

#include <cstdio>
#include <map>
#include <mutex>

namespace faiss_flash::cuda {

namespace {

int attribute(cudaDeviceAttr which, int device) {
    int value = 0;
    check(cudaDeviceGetAttribute(&value, which, device), "reading a device attribute");
    return value;
}

} // namespace

const DeviceInfo& device_info() {
    int device = 0;
    check(cudaGetDevice(&device), "asking for the current device");
    return device_info(device);
}

const DeviceInfo& device_info(int device) {
    static std::mutex mutex;
    static std::map<int, DeviceInfo> known;
    const std::lock_guard<std::mutex> lock(mutex);
    DeviceInfo& info = known[device];
    if (info.multiprocessors == 0) {
        info.device = device;
        info.major = attribute(cudaDevAttrComputeCapabilityMajor, device);
        info.minor = attribute(cudaDevAttrComputeCapabilityMinor, device);
        info.shared_bytes = attribute(cudaDevAttrMaxSharedMemoryPerBlockOptin, device);
        info.l2_bytes = attribute(cudaDevAttrL2CacheSize, device);
        info.clock = 1e3 * attribute(cudaDevAttrClockRate, device);
        constexpr double kTransfersAClock = 2;
        info.bandwidth = kTransfersAClock * 1e3 * attribute(cudaDevAttrMemoryClockRate, device) *
                         attribute(cudaDevAttrGlobalMemoryBusWidth, device) / 8;
        info.multiprocessors = attribute(cudaDevAttrMultiProcessorCount, device);
    }
    return info;
}

int device_count() {
    int count = 0;
    const cudaError_t status = cudaGetDeviceCount(&count);
    if (status == cudaErrorInsufficientDriver) {
        static std::once_flag once;
        std::call_once(once, [] {
            int driver = 0;
            int runtime = 0;
            cudaDriverGetVersion(&driver);
            cudaRuntimeGetVersion(&runtime);
            if (driver > 0) { // 0: there is none
                std::fprintf(
                        stderr,
                        "faiss_flash: the CUDA driver (%d.%d) is older than this build needs "
                        "(%d.%d); using the CPU\n",
                        driver / 1000,
                        driver % 1000 / 10,
                        runtime / 1000,
                        runtime % 1000 / 10);
            }
        });
    }
    if (status != cudaSuccess) {
        cudaGetLastError();
        return 0;
    }
    return count;
}

} // namespace faiss_flash::cuda
