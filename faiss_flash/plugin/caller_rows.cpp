#include <faiss_flash/plugin/caller_rows.h>

#include <cstring>

namespace faiss_flash {

/// On bits, and to the end, so that the compiler makes vector instructions of it.
bool all_finite(const float* values, int64_t count) {
    constexpr uint32_t kExponent = 0x7f800000;
    uint32_t bad = 0;
    for (int64_t i = 0; i < count; i++) {
        uint32_t bits;
        std::memcpy(&bits, values + i, sizeof bits);
        bad |= static_cast<uint32_t>((bits & kExponent) == kExponent);
    }
    return bad == 0;
}

void require_rows(const VectorView& rows, const std::string& name) {
    require(rows.data != nullptr || rows.n == 0,
            name + " is null with n=" + std::to_string(rows.n));
}

void require_finite(int64_t n, const float* x, int64_t d, const std::string& name) {
    const VectorView rows = VectorView::of(x, n, d);
    require_rows(rows, name);
    // Rows that are added one by one: threads and buffers would take longer than the look.
    constexpr int64_t kFewValues = 1 << 17;
    const bool few = n >= 0 && d > 0 && n <= kFewValues / d;
    if (!few || !all_finite(x, n * d)) {
        with_faiss_errors([&] { check_finite(rows, name); });
    }
}

} // namespace faiss_flash
