/// Scores in 8 bits by AMX: tiles of 16 rows of 64 bytes, a product of 16 x 16 x 64 an instruction.
///
/// 1. For each panel of 32 centroids (4 KiB at d = 128), for each 32 rows:
/// 2.   2 x 2 tiles of sums take 64 columns a step: 4 loads of tiles and 4 products,
/// 3.   the sums are written to 4 KiB that stay in the first-level cache,
/// 4.   and each row's 32 scores are compared with its bar (coded_scores.h).
/// Budget of 32 x 32 scores at d = 128: 8 products of 16 cycles, and 64 vectors of sums to store,
/// load, convert, scale and compare, about as many cycles: the two overlap.
#include <faiss_flash/cpu/coded_scores.h>

namespace faiss_flash::cpu {

namespace {

constexpr int64_t kTile = 16;      // rows of a tile; columns of sums
constexpr int64_t kTileBytes = 64; // of a tile's row
constexpr int64_t kSide = 2 * kTile;

/// Eight tiles of 16 rows of 64 bytes.
struct alignas(64) TileConfig {
    uint8_t palette = 1;
    uint8_t start_row = 0;
    uint8_t reserved[14] = {};
    uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
    uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
};

/// Sums of 32 rows' products with a panel.
void multiply_tiles(
        const uint8_t* codes, int64_t stride, int64_t columns, const float* panel, int32_t* sums) {
    const auto bytes = static_cast<int>(stride);
    constexpr int kPanelBytes = kSide * 4;
    constexpr int kSumBytes = kSide * 4;
    const auto* items = reinterpret_cast<const uint8_t*>(panel + CodedCentroids::kCodes * kSide);
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    for (int64_t j = 0; j < columns; j += kTileBytes, items += kTile * kPanelBytes) {
        _tile_loadd(4, codes + j, bytes);
        _tile_loadd(5, codes + j + kTile * stride, bytes);
        _tile_loadd(6, items, kPanelBytes);
        _tile_loadd(7, items + kTileBytes, kPanelBytes);
        _tile_dpbssd(0, 4, 6);
        _tile_dpbssd(1, 4, 7);
        _tile_dpbssd(2, 5, 6);
        _tile_dpbssd(3, 5, 7);
    }
    _tile_stored(0, sums, kSumBytes);
    _tile_stored(1, sums + kTile, kSumBytes);
    _tile_stored(2, sums + kTile * kSide, kSumBytes);
    _tile_stored(3, sums + kTile * kSide + kTile, kSumBytes);
}

void score(
        const CodedRows& rows, int64_t count, const CodedCentroids& centroids, Candidates* lists) {
    constexpr int64_t kVectors = kSide / kLanes;
    const int64_t columns = centroids.columns;
    alignas(64) int32_t sums[kSide * kSide];
    const TileConfig config;
    _tile_loadconfig(&config);
    Bars bars(rows, count, lists);
    const float* panel = centroids.panels;
    for (int64_t first = 0; first < centroids.k; first += kSide) {
        bars.begin<kVectors>(panel, first);
        for (int64_t i = 0; i < count; i += kSide) {
            multiply_tiles(rows.codes + i * rows.stride, rows.stride, columns, panel, sums);
            for (int64_t r = 0; r < kSide; r++) {
                const Integers of_row[kVectors] = {
                        load(sums + r * kSide), load(sums + r * kSide + kLanes)};
                bars.compare<kVectors>(i + r, of_row);
            }
        }
        panel += kSide * (CodedCentroids::kCodes + columns / 4);
    }
    _tile_release();
}

} // namespace

extern const CodeKernel code_kernel_amx;
const CodeKernel code_kernel_amx{
        "amx", 127, 0, kSide, kSide, kSide, kTileBytes, center, encode<127, 0>, score};

} // namespace faiss_flash::cpu
