#include <faiss_flash/cuda/exact/points.h>

namespace faiss_flash::cuda {

int64_t DevicePoints::bytes(int64_t n, int64_t d) {
    return n * (4 * d + 2 * padded_columns(d) + 4) + Scaling::bytes(d);
}

TensorRows DevicePoints::tensor() const {
    return packed_rows(halves_.get(), false, 1, n_, d_, row_elements_);
}

} // namespace faiss_flash::cuda
