/// What the kernels' choice depends on, read off the device. Its name is not among it.
#pragma once

namespace faiss_flash::cuda {

struct DeviceInfo {
    int device = 0;
    int major = 0; ///< compute capability
    int minor = 0;
    int multiprocessors = 0;
    int shared_bytes = 0; ///< a block's limit
    int l2_bytes = 0;
    double clock = 0;     ///< multiprocessors' highest, in Hz
    double bandwidth = 0; ///< device memory's, by its clock and width, in bytes a second

    /// sm_90a code runs on compute capability 9.0 and nothing else.
    bool runs_sm90a() const { return major == 9 && minor == 0; }
};

/// Of the current device; read once a device.
const DeviceInfo& device_info();

/// Of any device. Creates no context.
const DeviceInfo& device_info(int device);

/// Devices that this build can run on, 0 without a driver. Creates no context.
int device_count();

} // namespace faiss_flash::cuda
