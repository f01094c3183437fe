/// Scores in 8 bits: a row and a centroid are integers times a scale of their own, the product of
/// the integers is exact, and what the integers leave of a row and of a centroid bounds the error.
///
/// With x' = a p + r, c' = b q + t (p, q integers of at most `levels`, r and t the residuals),
///   x' . c' = a b (p . q) + x' . t + r . (b q),
/// so that a b (p . q) + bias is a score's value up to |x'| |t| + |r| |b q| (Cauchy-Schwarz) and
/// what float32 adds (centroid_cell.h). Coarser than float32 by far, and two to eight times as
/// fast: a row keeps one to three candidates instead of one, and those are measured.
#pragma once

#include <faiss_flash/cpu/candidates.h>

#include <cstdint>
#include <vector>

namespace faiss_flash::cpu {

/// A block of rows in codes: of row i, p + zero of the kernel at codes + i * stride. What is beyond
/// d, in a kernel's last columns, may be anything, but must be there.
struct CodedRows {
    static constexpr int64_t kMost = 256; // rows that a kernel takes at a time

    const uint8_t* codes;
    int64_t stride; // bytes
    // [kMost] each, on a cache line
    const float* scales;    // a
    const float* lengths;   // of x', bounds; infinite for a row without scores
    const float* residuals; // |r|, bounds
};

/// Panels of centroids side by side, as in scores.h: rows of `width` items of 4 bytes. The first
/// ones are these, all floats but for the offset: an integer, what a sum of products starts with,
/// as the rows' codes are p + zero. The others hold the codes of four columns each, in zeros beyond
/// d. A bias of -inf is that of a centroid that must never be chosen.
struct CodedCentroids {
    static constexpr int64_t kMostColumns = 32768; // whose sums an integer of 32 bits holds
    enum Item { kScale, kBias, kFixed, kLength, kResidual, kOffset, kCodes };

    const float* panels = nullptr; // on a cache line
    int64_t k = 0;
    int64_t columns = 0; // whole steps of the kernel
};

/// Of a vector.
struct Extent {
    float squares; // the sum of them, in any order
    float largest; // magnitude
};

/// What the codes of a vector mean, and a bound of the length of what they leave of it.
struct Coded {
    float scale; // has eight significant bits: half a float
    float residual;
};

struct CodeKernel {
    static constexpr int64_t kMostLanes = 16;

    const char* name;
    int levels;          // codes are -levels .. levels,
    int zero;            // stored in a row with this added
    int64_t panel;       // centroids side by side
    int64_t lanes;       // the last panel has a multiple of these
    int64_t rows;        // a call takes a multiple of these
    int64_t column_step; // columns of a product are a multiple of these

    /// out[j] = (x[j] - origin[j]) * scale, and zeros up to whole vectors.
    /// @param out  [d], and room for kMostLanes more, on a cache line
    Extent (*center)(const float* x, const float* origin, float scale, int64_t d, float* out);

    /// codes[j] = p[j] + zero (modulo 256), p = x / scale rounded, of -levels .. levels.
    /// @param x      as center() wrote it
    /// @param codes  [d], and room for kMostLanes more
    Coded (*encode)(const float* x, float largest, int64_t d, uint8_t* codes);

    /// Offers every centroid that may win to its row's list, in ascending order of ids.
    /// @param count  at most CodedRows::kMost
    /// @param lists  [count]
    void (*score)(
            const CodedRows& rows,
            int64_t count,
            const CodedCentroids& centroids,
            Candidates* lists);

    int64_t columns_of(int64_t d) const {
        return (d + column_step - 1) / column_step * column_step;
    }
    /// Where it is faster than float32, if few candidates are left: of fewer centroids or columns,
    /// what a row costs beside its scores counts as much; of fewer rows, packing does.
    static bool pays(int64_t n, int64_t k, int64_t d) {
        return n >= 1024 && d >= 24 && (k >= 256 || (k >= 64 && k * d >= 8192));
    }
};

/// Those this CPU can run, fastest first; none where only float32 does. And the first, or null.
std::vector<const CodeKernel*> code_kernels();
const CodeKernel* code_kernel();

} // namespace faiss_flash::cpu
