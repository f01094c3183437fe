#include <faiss_flash/cuda/exact/points.h>

namespace faiss_flash::cuda {

DevicePoints::DevicePoints(int64_t n, int64_t d, Arena& arena)
    : n_(n),
      d_(d),
      row_elements_(padded_columns(d)),
      halves_(arena.take<uint16_t>(n * row_elements_)),
      scaling_(1, d, arena),
      sizes_(arena.take<uint32_t>(n)),
      reference_(arena.take<float>(2)) {}

TensorRows DevicePoints::tensor() const {
    return packed_rows(halves_, false, 1, n_, d_, row_elements_);
}

} // namespace faiss_flash::cuda
