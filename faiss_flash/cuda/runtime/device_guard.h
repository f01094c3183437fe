/// Which device a thread's calls go to.
#pragma once

#include <faiss_flash/cuda/runtime/check.h>

namespace faiss_flash::cuda {

/// Makes a device the thread's current one, and puts back what was.
class DeviceGuard {
   public:
    explicit DeviceGuard(int device) {
        check(cudaGetDevice(&before_), "asking for the current device");
        if (before_ != device) {
            check(cudaSetDevice(device), "choosing a device");
            changed_ = true;
        }
    }
    DeviceGuard(const DeviceGuard&) = delete;
    DeviceGuard& operator=(const DeviceGuard&) = delete;
    ~DeviceGuard() {
        if (changed_) {
            cudaSetDevice(before_);
        }
    }

   private:
    int before_ = 0;
    bool changed_ = false;
};

} // namespace faiss_flash::cuda
