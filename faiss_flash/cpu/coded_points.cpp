#include <faiss_flash/cpu/coded_points.h>

#include <faiss_flash/core/parallel.h>

#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstring>

namespace faiss_flash::cpu {

namespace {

// Kernels read whole steps of columns, also of the last row, and whole tiles of rows.
constexpr int64_t kSlack = 64;

int64_t code_floats(int64_t rows, int64_t d) {
    return (rows * CodedBlock::stride(d) + kSlack) / 4;
}

uint16_t upper_half(float value) {
    uint32_t bits;
    std::memcpy(&bits, &value, sizeof bits);
    return static_cast<uint16_t>((bits + 0xffff) >> 16);
}

float from_upper_half(uint16_t half) {
    const uint32_t bits = uint32_t{half} << 16;
    float value;
    std::memcpy(&value, &bits, sizeof value);
    return value;
}

} // namespace

CodedBlock::CodedBlock(int64_t rows, int64_t d)
    : stride_(stride(d)),
      centred_(d + CodeKernel::kMostLanes),
      codes_(code_floats(rows, d)),
      heads_(3 * CodedRows::kMost) {}

void CodedBlock::encode(const CentroidCell& cell, int64_t i, const float* x) {
    Coded coded{0, 0};
    lengths()[i] = cell.encode(x, centred_.get(), codes() + i * stride_, coded);
    scales()[i] = coded.scale;
    residuals()[i] = coded.residual;
}

void CodedBlock::clear(int64_t i) {
    lengths()[i] = HUGE_VALF;
    scales()[i] = 0;
    residuals()[i] = 0;
}

int64_t CodedPoints::bytes(int64_t n, int64_t d) {
    return n * (CodedBlock::stride(d) + static_cast<int64_t>(sizeof(Head)));
}

bool CodedPoints::fit(int64_t n, int64_t d) {
    const int64_t memory = int64_t{sysconf(_SC_PHYS_PAGES)} * sysconf(_SC_PAGESIZE);
    return bytes(n, d) <= memory / 8;
}

CodedPoints::CodedPoints(const Points& points, const CentroidCell& cell)
    : frame_(cell.frame()),
      stride_(CodedBlock::stride(points.d())),
      codes_(code_floats(points.n() + CodedRows::kMost, points.d())),
      heads_(static_cast<size_t>(points.n())) {
    constexpr int64_t kRows = 32; // few: each thread holds them as floats, too
    const int64_t d = points.d();
    for_each_block((points.n() + kRows - 1) / kRows, [&] {
        return [&, block = CodedBlock(kRows, d), raw = AlignedFloats(kRows * d)](
                       int64_t number) mutable {
            const int64_t first = number * kRows;
            const int64_t count = std::min(kRows, points.n() - first);
            const RowBlock rows = points.read(first, count, raw.get());
            for (int64_t i = 0; i < count; i++) {
                block.encode(cell, i, rows.row(i));
                heads_[static_cast<size_t>(first + i)] = {
                        block.length(i),
                        upper_half(block.scales()[i]),
                        upper_half(block.residuals()[i])};
            }
            auto* codes = reinterpret_cast<uint8_t*>(codes_.get()) + first * stride_;
            std::copy_n(block.codes(), count * stride_, codes);
        };
    });
}

CodedRows CodedPoints::read(int64_t first, int64_t count, CodedBlock& block) const {
    for (int64_t i = 0; i < count; i++) {
        const Head& head = heads_[static_cast<size_t>(first + i)];
        block.lengths()[i] = head.length;
        block.scales()[i] = from_upper_half(head.scale);
        block.residuals()[i] = from_upper_half(head.residual);
    }
    CodedRows rows = block.rows();
    rows.codes = reinterpret_cast<const uint8_t*>(codes_.get()) + first * stride_;
    return rows;
}

} // namespace faiss_flash::cpu
