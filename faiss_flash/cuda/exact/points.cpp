#include <faiss_flash/cuda/exact/points.h>

namespace faiss_flash::cuda {

bool has_integers(const Points& points) {
    const DType dtype = points.view().dtype;
    return !points.view().decoder && (dtype == DType::u8 || dtype == DType::i8);
}

int64_t DevicePoints::bytes(int64_t n, int64_t d) {
    return n * (4 * d + 2 * padded_columns(d) + 4) + Scaling::bytes(d);
}

TensorRows DevicePoints::tensor() const {
    return packed_rows(halves_.get(), false, 1, n_, d_, row_elements_);
}

} // namespace faiss_flash::cuda
