#include <faiss_flash/cuda/runtime/buffer.h>
#include <faiss_flash/cuda/runtime/check.h>
#include <faiss_flash/cuda/update/reduce.h>

#include <cub/device/device_reduce.cuh>

namespace faiss_flash::cuda {

void sum(const double* values, int64_t n, double* result, cudaStream_t stream) {
    size_t workspace = 0;
    // CUB's sums of doubles are the same from run to run on one device.
    check(cub::DeviceReduce::Sum(nullptr, workspace, values, result, n, stream), "a sum");
    const Buffer<uint8_t> memory(workspace, stream);
    check(cub::DeviceReduce::Sum(memory.get(), workspace, values, result, n, stream), "a sum");
}

} // namespace faiss_flash::cuda
