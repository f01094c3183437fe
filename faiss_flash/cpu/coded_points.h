/// Points in codes, made once for all iterations of a k-means: of a row, an assignment reads d
/// bytes in the place of 4 d, and has nothing to round.
#pragma once

#include <faiss_flash/core/points.h>
#include <faiss_flash/cpu/aligned.h>
#include <faiss_flash/cpu/centroid_cell.h>

#include <cstdint>
#include <vector>

namespace faiss_flash::cpu {

/// A few rows in codes, as kernels read them.
class CodedBlock {
   public:
    /// @param rows  at most CodedRows::kMost
    CodedBlock(int64_t rows, int64_t d);

    /// Bytes from one row's codes to the next.
    static int64_t stride(int64_t d) { return (d + 3) / 4 * 4; }

    /// Row i by the cell's codes; a row without scores has an infinite length.
    void encode(const CentroidCell& cell, int64_t i, const float* x);
    /// Row i is none.
    void clear(int64_t i);

    float length(int64_t i) const { return lengths()[i]; }
    CodedRows rows() const { return {codes(), stride_, heads_.get(), lengths(), residuals()}; }
    uint8_t* codes() const { return reinterpret_cast<uint8_t*>(codes_.get()); }
    float* scales() const { return heads_.get(); }
    float* lengths() const { return heads_.get() + CodedRows::kMost; }
    float* residuals() const { return heads_.get() + 2 * CodedRows::kMost; }

   private:
    int64_t stride_ = 0;
    AlignedFloats centred_;
    AlignedFloats codes_; // bytes
    AlignedFloats heads_;
};

class CodedPoints {
   public:
    /// Of n rows: d + 8 bytes each, d in whole fours.
    static int64_t bytes(int64_t n, int64_t d);
    /// False where they would take more than an eighth of the machine's memory.
    static bool fit(int64_t n, int64_t d);

    /// By the codes of a cell, whose frame those of later centroids must have.
    CodedPoints(const Points& points, const CentroidCell& cell);

    const Frame& frame() const { return frame_; }

    /// Rows first .. first + count - 1, their heads in the block's.
    CodedRows read(int64_t first, int64_t count, CodedBlock& block) const;

   private:
    /// Eight bytes: floats without the lower half of their bits, rounded up.
    struct Head {
        float length;
        uint16_t scale, residual;
    };

    Frame frame_;
    int64_t stride_;
    AlignedFloats codes_; // bytes
    std::vector<Head> heads_;
};

} // namespace faiss_flash::cpu
