/// What the kernels in 8 bits do with the sums of products: the same for all of them, compiled into
/// each, as simd.h is.
///
/// Most panels have no candidate for a row. They are dismissed by four instructions a vector, with
/// the largest errors of the panel in the place of each centroid's own.
#pragma once

#include <faiss_flash/cpu/codes.h>
#include <faiss_flash/cpu/simd.h>

namespace faiss_flash::cpu {

namespace {

Extent center(const float* x, const float* origin, float scale, int64_t d, float* out) {
    Vector squares = all(0.0f);
    Vector largest = all(0.0f);
    const auto take = [&](int64_t j, Vector value, Vector middle) {
        const Vector moved = multiply(subtract(value, middle), all(scale));
        store(out + j, moved);
        squares = multiply_add(moved, moved, squares);
        largest = larger(magnitude(moved), largest);
    };
    int64_t j = 0;
    for (; j + kLanes <= d; j += kLanes) {
        take(j, load_any(x + j), load_any(origin + j));
    }
    if (j < d) {
        alignas(64) float rest[2][kLanes] = {};
        for (int64_t l = 0; j + l < d; l++) {
            rest[0][l] = x[j + l];
            rest[1][l] = origin[j + l];
        }
        take(j, load(rest[0]), load(rest[1]));
    }
    return {sum(squares), highest(largest)};
}

/// To eight significant bits.
inline float rounded_up(float value) {
    uint32_t bits;
    __builtin_memcpy(&bits, &value, sizeof bits);
    bits = (bits + 0xffff) & 0xffff0000;
    __builtin_memcpy(&value, &bits, sizeof bits);
    return value;
}

/// The residual's coordinates are off by 2^-24 of the largest of x each, and the sum of their
/// squares by as much as (d + 3) 2^-24 of itself.
template <int Levels, int Zero>
Coded encode(const float* x, float largest, int64_t d, uint8_t* codes) {
    constexpr float kLeast = 0x1p-40f; // squares of what it leaves are in float32's range
    const float most = largest > kLeast ? largest : kLeast;
    const float scale = rounded_up(most / Levels);
    const Vector inverse = all(1 / scale);
    const Vector negative_scale = all(-scale);
    Vector squares = all(0.0f);
    for (int64_t j = 0; j < d; j += kLanes) {
        const Vector value = load(x + j);
        const Integers code = rounded(multiply(value, inverse));
        const Vector rest = multiply_add(to_floats(code), negative_scale, value);
        squares = multiply_add(rest, rest, squares);
        store_low_bytes(codes + j, add(code, all(int32_t{Zero})));
    }
    const auto columns = static_cast<float>(d);
    const float residual = __builtin_sqrtf(sum(squares)) * (1 + (columns + 16) * 0x1p-24f);
    return {scale, residual + most * __builtin_sqrtf(columns) * 0x1p-22f};
}

/// What the scores of each row must reach to be looked at, while the panels go by.
class Bars {
   public:
    Bars(const CodedRows& rows, int64_t count, Candidates* lists) : rows_(rows), lists_(lists) {
        for (int64_t i = 0; i < CodedRows::kMost; i++) {
            bars_[i] = i < count ? lists[i].bar : __builtin_inff();
        }
        vectors_end_ = (count + kLanes - 1) / kLanes * kLanes;
    }

    /// Takes the next panel.
    template <int64_t Vectors>
    void begin(const float* panel, int64_t first) {
        constexpr int64_t kWidth = Vectors * kLanes;
        panel_ = panel;
        first_ = static_cast<int32_t>(first);
        const Vector fixed = all(largest_of<Vectors>(panel + CodedCentroids::kFixed * kWidth));
        const Vector length = all(largest_of<Vectors>(panel + CodedCentroids::kLength * kWidth));
        const Vector residual =
                all(largest_of<Vectors>(panel + CodedCentroids::kResidual * kWidth));
        for (int64_t i = 0; i < vectors_end_; i += kLanes) {
            Vector error = multiply_add(load(rows_.residuals + i), length, fixed);
            error = multiply_add(load(rows_.lengths + i), residual, error);
            store(least_ + i, subtract(load(bars_ + i), error));
        }
    }

    /// Row i's sums of products with the panel.
    template <int64_t Vectors>
    void compare(int64_t i, const Integers* sums) {
        constexpr int64_t kWidth = Vectors * kLanes;
        const float* scale = panel_ + CodedCentroids::kScale * kWidth;
        const float* bias = panel_ + CodedCentroids::kBias * kWidth;
        Vector scores[Vectors];
        for (int64_t v = 0; v < Vectors; v++) {
            const Vector scaled = multiply(to_floats(sums[v]), load(scale + v * kLanes));
            scores[v] = multiply_add(scaled, all(rows_.scales[i]), load(bias + v * kLanes));
        }
        Vector top = scores[0];
        for (int64_t v = 1; v < Vectors; v++) {
            top = larger(top, scores[v]);
        }
        if (__builtin_expect(bits(reaches(top, all(least_[i]))) != 0, 0)) {
            Vector kept[Vectors]; // in memory; the others stay in registers
            for (int64_t v = 0; v < Vectors; v++) {
                kept[v] = scores[v];
            }
            offer_row<Vectors>(i, kept);
        }
    }

   private:
    template <int64_t Vectors>
    static float largest_of(const float* items) {
        Vector most = load(items);
        for (int64_t v = 1; v < Vectors; v++) {
            most = larger(most, load(items + v * kLanes));
        }
        return highest(most);
    }

    /// A few times a row.
    template <int64_t Vectors>
    __attribute__((noinline)) void offer_row(int64_t i, const Vector* scores) {
        constexpr int64_t kWidth = Vectors * kLanes;
        const float* fixed = panel_ + CodedCentroids::kFixed * kWidth;
        const float* length = panel_ + CodedCentroids::kLength * kWidth;
        const float* residual = panel_ + CodedCentroids::kResidual * kWidth;
        Candidates& list = lists_[i];
        alignas(64) float bounds[kWidth];
        Vector sure = all(-__builtin_inff());
        for (int64_t v = 0; v < Vectors; v++) {
            const int64_t at = v * kLanes;
            Vector error =
                    multiply_add(all(rows_.residuals[i]), load(length + at), load(fixed + at));
            error = multiply_add(all(rows_.lengths[i]), load(residual + at), error);
            sure = larger(sure, subtract(scores[v], error));
            store(bounds + at, add(scores[v], error));
        }
        raise(list, highest(sure)); // first: it keeps the list short
        uint64_t mask = 0;
        for (int64_t v = 0; v < Vectors; v++) {
            const Mask reached = reaches(load(bounds + v * kLanes), all(list.bar));
            mask |= uint64_t{bits(reached)} << (v * kLanes);
        }
        for (; mask != 0; mask &= mask - 1) {
            const int c = __builtin_ctzll(mask);
            offer(list, bounds[c], first_ + c);
        }
        bars_[i] = list.bar;
    }

    const CodedRows& rows_;
    Candidates* const lists_;
    int64_t vectors_end_;
    const float* panel_ = nullptr;
    int32_t first_ = 0;
    alignas(64) float bars_[CodedRows::kMost];
    alignas(64) float least_[CodedRows::kMost];
};

} // namespace

} // namespace faiss_flash::cpu
