#include <faiss_flash/cuda/exact/points.h>

namespace faiss_flash::cuda {

int64_t DevicePoints::bytes(int64_t n, int64_t d) {
    return n * (4 * d + 2 * ((d + 7) / 8 * 8) + 8);
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
