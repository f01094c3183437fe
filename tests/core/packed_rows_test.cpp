/// Rows brought together in their own type.
#include <faiss_flash/core/packed_rows.h>

#include <gtest/gtest.h>

#include <cstring>

namespace faiss_flash {
namespace {

using Bytes = std::vector<uint8_t>;

Bytes counted(int64_t count) {
    Bytes bytes(static_cast<size_t>(count));
    for (size_t i = 0; i < bytes.size(); i++) {
        bytes[i] = static_cast<uint8_t>(i * 37 + i / 251);
    }
    return bytes;
}

/// Of every type, packed or strided, at any byte, all rows or some of them again and again: the
/// bytes of the rows, and nothing behind them.
TEST(PackedRows, AreTheBytesOfTheRows) {
    constexpr int64_t kRows = 23;
    constexpr int64_t kColumns = 5;
    for (const DType dtype : {DType::f32, DType::f16, DType::bf16, DType::u8, DType::i8}) {
        const int64_t bytes = kColumns * dtype_size(dtype);
        for (const int64_t gap : {0, 3}) {
            const Bytes source = counted(1 + kRows * (bytes + gap));
            VectorView view;
            view.data = source.data() + 1;
            view.n = kRows;
            view.d = kColumns;
            view.dtype = dtype;
            view.row_stride = gap ? bytes + gap : 0;
            std::vector<int64_t> selection;
            for (int64_t i = 0; i < kRows; i++) {
                selection.push_back(i * i % kRows);
            }
            for (const Points& points : {Points(view), Points(view, selection)}) {
                EXPECT_EQ(packed_type(points), dtype);
                ASSERT_EQ(packed_row_bytes(points), bytes);
                constexpr int64_t kFirst = 2;
                constexpr int64_t kCount = 20;
                Bytes out(static_cast<size_t>(kCount * bytes + 1), 0xA5);
                copy_packed(points, kFirst, kCount, out.data());
                for (int64_t i = 0; i < kCount; i++) {
                    const uint8_t* row =
                            source.data() + 1 + points.source_row(kFirst + i) * (bytes + gap);
                    EXPECT_EQ(std::memcmp(out.data() + i * bytes, row, bytes), 0) << i;
                }
                EXPECT_EQ(out.back(), 0xA5);
            }
        }
    }
}

struct HalvingDecoder : RowDecoder {
    void decode(int64_t n, const uint8_t* codes, float* out) const override {
        for (int64_t i = 0; i < 2 * n; i++) {
            out[i] = 0.5f * codes[i];
        }
    }
};

TEST(PackedRows, AreFloatsBehindADecoder) {
    const HalvingDecoder decoder;
    const Bytes codes = counted(2 * 9);
    VectorView view;
    view.data = codes.data();
    view.n = 9;
    view.d = 2;
    view.dtype = DType::u8;
    view.row_stride = 2;
    view.decoder = &decoder;
    for (const Points& points : {Points(view), Points(view, {8, 0, 8, 5})}) {
        EXPECT_EQ(packed_type(points), DType::f32);
        ASSERT_EQ(packed_row_bytes(points), 8);
        float out[6];
        copy_packed(points, 1, 3, reinterpret_cast<uint8_t*>(out));
        for (int64_t i = 0; i < 6; i++) {
            const int64_t row = points.source_row(1 + i / 2);
            EXPECT_EQ(out[i], 0.5f * codes[static_cast<size_t>(2 * row + i % 2)]);
        }
    }
}

} // namespace
} // namespace faiss_flash
