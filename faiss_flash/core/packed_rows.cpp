#include <faiss_flash/core/packed_rows.h>

#include <cstring>

namespace faiss_flash {

DType packed_type(const Points& points) {
    return points.view().decoder ? DType::f32 : points.view().dtype;
}

int64_t packed_row_bytes(const Points& points) {
    return points.d() * dtype_size(packed_type(points));
}

void copy_packed(const Points& points, int64_t first, int64_t count, uint8_t* out) {
    constexpr int64_t kAhead = 4; // rows of a selection: no hardware foresees where they are
    const VectorView& view = points.view();
    if (view.decoder) {
        points.read(first, count, reinterpret_cast<float*>(out));
        return;
    }
    const int64_t bytes = packed_row_bytes(points);
    const auto* data = static_cast<const uint8_t*>(view.data);
    if (!points.selected() && view.row_stride == bytes) {
        std::memcpy(out, data + first * bytes, static_cast<size_t>(count * bytes));
        return;
    }
    for (int64_t i = 0; i < count; i++) {
        if (points.selected() && i + kAhead < count) {
            points.prefetch(first + i + kAhead);
        }
        const uint8_t* row = data + points.source_row(first + i) * view.row_stride;
        std::memcpy(out + i * bytes, row, static_cast<size_t>(bytes));
    }
}

} // namespace faiss_flash
