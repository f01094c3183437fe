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

DevicePoints DevicePoints::part(const RowRange& rows) const {
    DevicePoints some = *this;
    some.n_ = rows.count;
    some.rows_ = rows_.part(rows);
    some.halves_ += rows.first * row_elements_;
    some.sizes_ += rows.first;
    return some;
}

TensorRows DevicePoints::tensor() const {
    return packed_rows(halves_, false, 1, n_, d_, row_elements_);
}

} // namespace faiss_flash::cuda
