#include <faiss_flash/cuda/exact/points.h>

#include <faiss_flash/cuda/runtime/copy.h>
#include <faiss_flash/cuda/runtime/pinned.h>

#include <algorithm>
#include <cstring>

namespace faiss_flash::cuda {

int64_t DevicePoints::bytes(int64_t n, int64_t d) {
    return n * (4 * d + 2 * ((d + 7) / 8 * 8) + 8);
}

/// Rows go through two pinned buffers: while one is copied to the device, the other is filled.
void DevicePoints::upload(const Points& points, int64_t first, cudaStream_t stream) {
    constexpr int64_t kBufferBytes = int64_t{8} << 20;
    const int64_t rows_a_buffer = std::max<int64_t>(1, std::min(n_, kBufferBytes / (4 * d_)));
    PinnedPair<float> staging(static_cast<size_t>(rows_a_buffer * d_));
    for (int64_t done = 0; done < n_; done += rows_a_buffer) {
        const int64_t count = std::min(rows_a_buffer, n_ - done);
        float* buffer = staging.next();
#pragma omp parallel for
        for (int64_t i = 0; i < count; i++) {
            float* to = buffer + i * d_;
            const float* row = points.read(first + done + i, 1, to).data;
            if (row != to) {
                std::memcpy(to, row, static_cast<size_t>(d_) * sizeof(float));
            }
        }
        copy(rows_.get() + done * d_, buffer, count * d_, cudaMemcpyHostToDevice, stream);
        staging.in_use(stream);
    }
    staging.wait();
}

TensorRows DevicePoints::tensor() const {
    TensorRows tensor;
    tensor.data = halves_.get();
    tensor.bf16 = false;
    tensor.columns = d_;
    tensor.rows = n_;
    tensor.batch = 1;
    tensor.row_bytes = 2 * row_elements_;
    tensor.batch_bytes = tensor.row_bytes * n_;
    return tensor;
}

} // namespace faiss_flash::cuda
