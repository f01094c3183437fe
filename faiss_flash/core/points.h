/// Rows of a VectorView, all of them or a selection, read as float32.
#pragma once

#include <faiss_flash/core/row_order.h>
#include <faiss_flash/kmeans.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

namespace faiss_flash {

/// Bytes of one coordinate.
int64_t dtype_size(DType dtype);

/// False where the type has no NaN and no infinity.
bool has_non_finite(DType dtype);

/// A block of rows: row i starts at data + i * stride (in floats).
struct RowBlock {
    const float* data;
    int64_t stride;
    const float* row(int64_t i) const { return data + i * stride; }
};

/// The points of one problem. A selection costs 8 bytes a row, never a copy of the rows.
class Points {
   public:
    /// All rows of the view, in its order.
    explicit Points(const VectorView& view);
    /// The rows named, in that order.
    Points(const VectorView& view, std::vector<int64_t> selection);

    /// Rows first .. first + n - 1.
    Points part(int64_t first, int64_t n) const;
    /// The same rows, of which the i-th is order.row(i) of these.
    Points in_order(const RowOrder& order) const;

    int64_t n() const { return n_; }
    int64_t d() const { return view_.d; }
    const VectorView& view() const { return view_; }

    /// False where all rows of the view are meant, in its order.
    bool selected() const { return selection_ || order_.blocks > 0; }

    /// Row i's number in the view.
    int64_t source_row(int64_t i) const {
        const int64_t place = order_.row(first_ + i);
        return selection_ ? (*selection_)[static_cast<size_t>(place)] : place;
    }

    /// Where source_row() is an order of the view's rows alone, from a place on.
    struct Ordered {
        RowOrder order;
        int64_t first;
    };
    std::optional<Ordered> ordered() const {
        return !selection_ && order_.blocks > 0 ? std::make_optional(Ordered{order_, first_})
                                                : std::nullopt;
    }

    /// True where read() gives the caller's own rows, and needs no scratch.
    bool in_place() const { return direct_ && !selected(); }

    /// Rows first .. first + count - 1; `scratch` [count x d] is used where they must be converted.
    RowBlock read(int64_t first, int64_t count, float* scratch) const;

    /// Row i as float32 [d].
    void copy_row(int64_t i, float* out) const;

    /// Asks for row i to be brought into the cache.
    void prefetch(int64_t i) const {
        constexpr int64_t kLine = 64;
        const uint8_t* row = address(i);
        for (int64_t byte = 0; byte < row_bytes_; byte += kLine) {
            __builtin_prefetch(row + byte);
        }
    }

   private:
    const uint8_t* address(int64_t i) const {
        return static_cast<const uint8_t*>(view_.data) + source_row(i) * view_.row_stride;
    }
    void decode(int64_t first, int64_t count, float* out) const;

    VectorView view_;
    std::shared_ptr<const std::vector<int64_t>> selection_; // null: all rows
    RowOrder order_{};                                      // of the selection's rows, or of all
    int64_t first_ = 0; // place in the order where these rows begin; without any of both 0
    int64_t n_;
    int64_t row_bytes_; // of a row itself, or of its codes
    bool direct_;       // rows are aligned float32: no conversion needed
};

/// The first rows of the view as packed float32.
std::vector<float> to_floats(const VectorView& view, int64_t rows);

} // namespace faiss_flash
