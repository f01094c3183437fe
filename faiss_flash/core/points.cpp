#include <faiss_flash/core/points.h>

#include <algorithm>
#include <cstring>
#include <utility>

namespace faiss_flash {

namespace {

float widen(float value) {
    return value;
}

float from_bits(uint32_t bits) {
    float value;
    std::memcpy(&value, &bits, sizeof value);
    return value;
}

struct Half {
    uint16_t bits;
};

/// binary16: moved to binary32's places the exponent is 112 too small, which one product mends,
/// subnormals included; 65536 and above can only be an infinity or a NaN.
float widen(Half value) {
    const uint32_t magnitude = (value.bits & 0x7fffu) << 13;
    const uint32_t sign = (value.bits & 0x8000u) << 16;
    float result = from_bits(magnitude) * 0x1p112f;
    uint32_t bits;
    std::memcpy(&bits, &result, sizeof bits);
    if (result >= 65536.0f) {
        bits |= 0x7f800000u;
    }
    return from_bits(bits | sign);
}

struct BFloat16 {
    uint16_t bits;
};

float widen(BFloat16 value) {
    return from_bits(static_cast<uint32_t>(value.bits) << 16);
}
float widen(uint8_t value) {
    return value;
}
float widen(int8_t value) {
    return value;
}

template <class T>
void convert_row(const uint8_t* from, int64_t d, float* to) {
    for (int64_t j = 0; j < d; j++) {
        T value;
        std::memcpy(&value, from + j * static_cast<int64_t>(sizeof(T)), sizeof value);
        to[j] = widen(value);
    }
}

/// The list of dtypes: a new one is a row here.
struct DTypeTraits {
    int64_t size;
    bool non_finite;
    void (*convert_row)(const uint8_t* from, int64_t d, float* to);
};

const DTypeTraits& traits(DType dtype) {
    static const DTypeTraits f32{4, true, convert_row<float>};
    static const DTypeTraits f16{2, true, convert_row<Half>};
    static const DTypeTraits bf16{2, true, convert_row<BFloat16>};
    static const DTypeTraits u8{1, false, convert_row<uint8_t>};
    static const DTypeTraits i8{1, false, convert_row<int8_t>};
    switch (dtype) {
        case DType::f32:
            return f32;
        case DType::f16:
            return f16;
        case DType::bf16:
            return bf16;
        case DType::u8:
            return u8;
        case DType::i8:
            return i8;
    }
    throw InvalidArgument("dtype=" + std::to_string(static_cast<int>(dtype)) + " is not a DType");
}

} // namespace

int64_t dtype_size(DType dtype) {
    return traits(dtype).size;
}

bool has_non_finite(DType dtype) {
    return traits(dtype).non_finite;
}

Points::Points(const VectorView& view) : view_(view), n_(view.n) {
    if (view_.row_stride == 0) {
        view_.row_stride = view_.d * dtype_size(view_.dtype);
    }
    row_bytes_ = view_.decoder ? view_.row_stride : view_.d * dtype_size(view_.dtype);
    const auto misaligned =
            (reinterpret_cast<uintptr_t>(view_.data) | static_cast<uintptr_t>(view_.row_stride)) %
            alignof(float);
    direct_ = !view_.decoder && view_.dtype == DType::f32 && misaligned == 0;
}

Points::Points(const VectorView& view, std::vector<int64_t> selection) : Points(view) {
    n_ = static_cast<int64_t>(selection.size());
    selection_ = std::make_shared<const std::vector<int64_t>>(std::move(selection));
}

Points Points::in_order(const RowOrder& order) const {
    Points points = *this;
    points.order_ = order;
    return points;
}

Points Points::part(int64_t first, int64_t n) const {
    if (selected()) {
        Points points = *this;
        points.first_ += first;
        points.n_ = n;
        return points;
    }
    VectorView view = view_;
    view.data = address(first);
    view.n = n;
    return Points(view);
}

RowBlock Points::read(int64_t first, int64_t count, float* scratch) const {
    if (in_place() || (direct_ && count == 1)) {
        const auto* data = reinterpret_cast<const float*>(address(first));
        return {data, view_.row_stride / static_cast<int64_t>(sizeof(float))};
    }
    if (view_.decoder) {
        decode(first, count, scratch);
    } else {
        const auto& type = traits(view_.dtype);
        for (int64_t i = 0; i < count; i++) {
            type.convert_row(address(first + i), d(), scratch + i * d());
        }
    }
    return {scratch, d()};
}

void Points::copy_row(int64_t i, float* out) const {
    const float* row = read(i, 1, out).data;
    if (row != out) {
        std::copy_n(row, view_.d, out);
    }
}

void Points::decode(int64_t first, int64_t count, float* out) const {
    if (!selected()) {
        view_.decoder->decode(count, address(first), out);
        return;
    }
    std::vector<uint8_t> codes(static_cast<size_t>(count * view_.row_stride));
    for (int64_t i = 0; i < count; i++) {
        std::memcpy(
                codes.data() + i * view_.row_stride,
                address(first + i),
                static_cast<size_t>(view_.row_stride));
    }
    view_.decoder->decode(count, codes.data(), out);
}

std::vector<float> to_floats(const VectorView& view, int64_t rows) {
    std::vector<float> floats(static_cast<size_t>(rows * view.d));
    const Points points(view);
    for (int64_t i = 0; i < rows; i++) {
        points.copy_row(i, floats.data() + i * view.d);
    }
    return floats;
}

} // namespace faiss_flash
