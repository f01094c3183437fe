#include <faiss_flash/core/points.h>

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

namespace faiss_flash {
namespace {

/// binary16 by its definition.
double half_value(unsigned bits) {
    const double sign = bits & 0x8000 ? -1 : 1;
    const int exponent = (bits >> 10) & 31;
    const int mantissa = bits & 1023;
    if (exponent == 31) {
        return mantissa ? NAN : sign * INFINITY;
    }
    return sign *
           (exponent == 0 ? std::ldexp(mantissa, -24) : std::ldexp(1024 + mantissa, exponent - 25));
}

TEST(Points, EveryHalfIsConvertedExactly) {
    std::vector<uint16_t> all(65536);
    for (size_t i = 0; i < all.size(); i++) {
        all[i] = static_cast<uint16_t>(i);
    }
    VectorView view;
    view.data = all.data();
    view.n = 256;
    view.d = 256;
    view.dtype = DType::f16;
    std::vector<float> out(65536);
    Points(view).read(0, 256, out.data());
    for (unsigned i = 0; i < 65536; i++) {
        const double expected = half_value(i);
        if (std::isnan(expected)) {
            EXPECT_TRUE(std::isnan(out[i])) << i;
        } else {
            EXPECT_EQ(out[i], expected) << i;
            EXPECT_EQ(std::signbit(out[i]), std::signbit(expected)) << i;
        }
    }
}

TEST(Points, BFloat16IsTheUpperHalf) {
    const float values[] = {1.0f, -3.5f, 1e30f, -0.0f};
    uint16_t halves[4];
    for (int i = 0; i < 4; i++) {
        uint32_t bits;
        std::memcpy(&bits, values + i, 4);
        halves[i] = static_cast<uint16_t>(bits >> 16);
    }
    VectorView view;
    view.data = halves;
    view.n = 1;
    view.d = 4;
    view.dtype = DType::bf16;
    float out[4];
    Points(view).read(0, 1, out);
    EXPECT_EQ(out[0], 1.0f);
    EXPECT_EQ(out[1], -3.5f);
    EXPECT_NEAR(out[2], 1e30f, 1e28f);
    EXPECT_TRUE(std::signbit(out[3]));
}

TEST(Points, IntegersKeepTheirSign) {
    const int8_t signed_values[] = {-128, -1, 0, 127};
    const uint8_t unsigned_values[] = {0, 1, 128, 255};
    VectorView view;
    view.n = 1;
    view.d = 4;
    float out[4];
    view.data = signed_values;
    view.dtype = DType::i8;
    Points(view).read(0, 1, out);
    EXPECT_EQ(out[0], -128.0f);
    EXPECT_EQ(out[3], 127.0f);
    view.data = unsigned_values;
    view.dtype = DType::u8;
    Points(view).read(0, 1, out);
    EXPECT_EQ(out[3], 255.0f);
}

TEST(Points, AlignedFloatsAreNotCopied) {
    std::vector<float> x(12);
    VectorView view = VectorView::of(x.data(), 3, 3);
    view.row_stride = 16;
    float scratch[9];
    const RowBlock rows = Points(view).read(1, 2, scratch);
    EXPECT_EQ(rows.data, x.data() + 4);
    EXPECT_EQ(rows.stride, 4);
}

TEST(Points, UnalignedFloatsAreRead) {
    std::vector<uint8_t> bytes(1 + 2 * 9);
    const float values[] = {1.5f, -2.0f};
    std::memcpy(bytes.data() + 1, values, 8);
    std::memcpy(bytes.data() + 10, values, 8);
    VectorView view;
    view.data = bytes.data() + 1;
    view.n = 2;
    view.d = 2;
    view.row_stride = 9;
    float scratch[4];
    const RowBlock rows = Points(view).read(0, 2, scratch);
    EXPECT_EQ(rows.row(1)[0], 1.5f);
    EXPECT_EQ(rows.row(1)[1], -2.0f);
}

TEST(Points, SelectionKeepsItsOrder) {
    const float x[] = {0, 1, 2, 3};
    const Points points(VectorView::of(x, 4, 1), {3, 0, 3});
    EXPECT_EQ(points.n(), 3);
    float scratch[3];
    const RowBlock rows = points.read(0, 3, scratch);
    EXPECT_EQ(rows.row(0)[0], 3.0f);
    EXPECT_EQ(rows.row(1)[0], 0.0f);
    EXPECT_EQ(rows.row(2)[0], 3.0f);
    EXPECT_EQ(points.source_row(2), 3);
}

struct DoublingDecoder : RowDecoder {
    void decode(int64_t n, const uint8_t* codes, float* out) const override {
        for (int64_t i = 0; i < n; i++) {
            out[i] = 2.0f * codes[i];
        }
    }
};

TEST(Points, DecodesAllRowsAndSelections) {
    const uint8_t codes[] = {1, 2, 3};
    const DoublingDecoder decoder;
    VectorView view;
    view.data = codes;
    view.n = 3;
    view.d = 1;
    view.row_stride = 1;
    view.decoder = &decoder;
    float out[3];
    EXPECT_EQ(Points(view).read(1, 2, out).row(1)[0], 6.0f);
    EXPECT_EQ(Points(view, {2, 0}).read(0, 2, out).row(1)[0], 2.0f);
}

} // namespace
} // namespace faiss_flash
