#include "random_call.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

namespace faiss_flash::test {

namespace {

const std::vector<std::string>& kinds() {
    static const std::vector<std::string> all{
            "normal",
            "small integers",
            "few distinct rows",
            "constant",
            "large offset",
            "huge",
            "tiny",
            "subnormal",
            "rows of mixed scales",
            "one column dominates",
            "mostly zeros",
            "clusters",
            "next to the end of float32",
    };
    return all;
}

std::vector<float> values_of(const std::string& kind, int64_t n, int64_t d, Draw& draw) {
    std::vector<float> x(static_cast<size_t>(n * d));
    for (int64_t i = 0; i < n; i++) {
        const double row_scale = std::ldexp(1.0, static_cast<int>(draw.between(-20, 20)));
        const int64_t source = kind == "few distinct rows" && i > 3 ? draw.between(0, 3) : i;
        const float centre = static_cast<float>(draw.between(0, 9));
        for (int64_t j = 0; j < d; j++) {
            double value = draw.normal();
            if (kind == "small integers") {
                value = static_cast<double>(draw.between(-2, 2));
            } else if (kind == "constant") {
                value = 3.25;
            } else if (kind == "large offset") {
                value = 1000 + 1e-3 * value;
            } else if (kind == "huge") {
                value *= 1e30;
            } else if (kind == "tiny") {
                value *= 1e-30;
            } else if (kind == "subnormal") {
                value *= 1e-40;
            } else if (kind == "rows of mixed scales") {
                value *= row_scale;
            } else if (kind == "one column dominates") {
                value *= j == 0 ? 1e5 : 1;
            } else if (kind == "mostly zeros") {
                value = draw.one_in(8) ? value : draw.one_in(2) ? -0.0 : 0.0;
            } else if (kind == "clusters") {
                value = centre * 10 + 1e-2 * value;
            } else if (kind == "next to the end of float32") {
                value = draw.one_in(2) ? 3.3e38 : -3.3e38;
            }
            x[static_cast<size_t>(i * d + j)] = source == i
                                                        ? static_cast<float>(value)
                                                        : x[static_cast<size_t>(source * d + j)];
        }
    }
    return x;
}

uint16_t half_bits(float value) {
    uint32_t bits;
    std::memcpy(&bits, &value, sizeof bits);
    const auto sign = static_cast<uint16_t>(bits >> 16 & 0x8000);
    const float magnitude = std::abs(value);
    if (!(magnitude < 65520)) {
        return static_cast<uint16_t>(sign | (std::isnan(value) ? 0x7E00 : 0x7C00));
    }
    int exponent = magnitude > 0 ? std::max(std::ilogb(magnitude), -14) : -14;
    auto mantissa = static_cast<uint32_t>(std::nearbyint(std::ldexp(magnitude, 10 - exponent)));
    if (mantissa == 2048) {
        mantissa = 1024;
        exponent++;
    }
    const uint32_t field = mantissa < 1024 ? 0 : static_cast<uint32_t>(exponent + 15);
    return static_cast<uint16_t>(sign | field << 10 | (mantissa & 1023));
}

float half_value(uint16_t bits) {
    const int field = bits >> 10 & 31;
    const double mantissa = bits & 1023;
    const double magnitude = field == 0    ? std::ldexp(mantissa, -24)
                             : field == 31 ? (mantissa > 0 ? NAN : INFINITY)
                                           : std::ldexp(mantissa + 1024, field - 25);
    return static_cast<float>(bits & 0x8000 ? -magnitude : magnitude);
}

/// Values as the type holds them, in rows with whatever lies between.
RandomRows rows_of(std::vector<float> x, int64_t n, int64_t d, DType dtype, int64_t gap) {
    RandomRows rows;
    rows.n = n;
    rows.d = d;
    rows.dtype = dtype;
    const int64_t size = dtype == DType::f32 ? 4 : dtype == DType::u8 || dtype == DType::i8 ? 1 : 2;
    rows.row_stride = d * size + gap;
    rows.bytes.assign(static_cast<size_t>(n * rows.row_stride), 0xFB);
    for (int64_t i = 0; i < n; i++) {
        uint8_t* row = rows.bytes.data() + i * rows.row_stride;
        for (int64_t j = 0; j < d; j++) {
            float& value = x[static_cast<size_t>(i * d + j)];
            uint32_t bits;
            if (dtype == DType::f16) {
                const uint16_t half = half_bits(value);
                std::memcpy(row + 2 * j, &half, 2);
                value = half_value(half);
            } else if (dtype == DType::bf16) {
                std::memcpy(&bits, &value, 4);
                const auto upper = static_cast<uint16_t>(bits >> 16);
                std::memcpy(row + 2 * j, &upper, 2);
                bits &= 0xFFFF0000u;
                std::memcpy(&value, &bits, 4);
            } else if (dtype == DType::u8) {
                const float limited = std::isfinite(value) ? std::abs(value) : 0;
                row[j] = static_cast<uint8_t>(std::min(limited * 16, 255.0f));
                value = row[j];
            } else if (dtype == DType::i8) {
                const float limited = std::isfinite(value) ? value * 16 : 0;
                const auto small =
                        static_cast<int8_t>(std::max(-128.0f, std::min(limited, 127.0f)));
                std::memcpy(row + j, &small, 1);
                value = small;
            } else {
                std::memcpy(row + 4 * j, &value, 4);
            }
        }
    }
    rows.floats = std::move(x);
    return rows;
}

int64_t random_size(Draw& draw, int64_t small, int64_t large) {
    return draw.one_in(12) ? draw.between(1, large) : draw.between(1, small);
}

} // namespace

VectorView RandomRows::view() const {
    VectorView view;
    view.data = bytes.data();
    view.n = n;
    view.d = d;
    view.dtype = dtype;
    view.row_stride = row_stride;
    return view;
}

RandomCall::RandomCall(uint64_t seed_in) : seed(seed_in) {
    Draw draw(seed);
    kind = draw.of(kinds());
    const bool is_half = draw.one_in(2);
    const std::vector<DType> wide{DType::f32, DType::f32, DType::f32};
    const std::vector<DType> narrow{DType::f16, DType::bf16, DType::u8, DType::i8};
    const DType dtype = draw.of(is_half ? narrow : wide);
    const int64_t d = draw.one_in(4) ? draw.between(1, 4) : random_size(draw, 70, 600);
    const int64_t n = std::max<int64_t>(1, std::min(random_size(draw, 900, 40000), 6000000 / d));
    k = draw.one_in(8) ? n - draw.between(0, std::min<int64_t>(n - 1, 3))
                       : draw.between(1, std::min<int64_t>(n, draw.one_in(6) ? 1500 : 60));
    const int64_t gap = draw.one_in(3) ? draw.between(1, 40) : 0;
    const int64_t batch = draw.one_in(3) ? draw.between(2, 6) : 1;
    const bool ragged = draw.one_in(4);
    const bool weighted = draw.one_in(4);
    const int64_t given = draw.one_in(3) ? draw.between(1, k + 1) : 0;
    for (int64_t b = 0; b < batch; b++) {
        RandomProblem problem;
        const int64_t rows = ragged && b > 0 ? draw.between(std::max<int64_t>(1, k - 1), n + 5) : n;
        auto x = values_of(kind, rows, d, draw);
        if (draw.one_in(25)) {
            const auto at = static_cast<size_t>(draw.between(0, rows * d - 1));
            x[at] = draw.one_in(2) ? NAN : INFINITY;
        }
        problem.points = rows_of(std::move(x), rows, d, dtype, gap);
        for (int64_t i = 0; i < (weighted ? rows : 0); i++) {
            problem.weights.push_back(
                    draw.one_in(9) ? 0.0f : static_cast<float>(draw.between(1, 100)) / 16);
        }
        if (weighted && draw.one_in(20)) {
            problem.weights[0] = draw.one_in(2) ? -1.0f : NAN;
        }
        if (given > 0) {
            problem.initial = rows_of(values_of(kind, given, d, draw), given, d, DType::f32, 0);
        }
        for (const float value : problem.points.floats) {
            squares += static_cast<double>(value) * value;
        }
        problems.push_back(std::move(problem));
    }
    centroids = rows_of(values_of(kind, k, d, draw), k, d, DType::f32, 4 * draw.between(0, 2));
    options.metric = draw.one_in(3) ? Metric::inner_product : Metric::l2;
    options.niter = static_cast<int>(draw.between(1, 8));
    options.nredo = draw.one_in(10) ? 3 : 1;
    options.spherical = draw.one_in(5);
    options.int_centroids = draw.one_in(8);
    options.frozen_centroids = draw.one_in(3);
    options.max_points_per_centroid = draw.one_in(3) ? draw.between(1, 30) : -1;
    options.min_points_per_centroid = 0;
    options.seed = draw.between(0, 1000);
    options.use_faster_subsampling = draw.one_in(4);
    options.return_assignment = !draw.one_in(3);
    if (draw.one_in(2)) {
        options.early_stop_threshold.reset();
    }
}

std::vector<KMeansInput> RandomCall::inputs() const {
    std::vector<KMeansInput> all;
    for (const RandomProblem& problem : problems) {
        KMeansInput input;
        input.points = problem.points.view();
        if (!problem.weights.empty()) {
            input.weights = VectorView::of(problem.weights.data(), problem.points.n, 1);
        }
        if (problem.initial.n > 0) {
            input.initial_centroids = problem.initial.view();
        }
        all.push_back(input);
    }
    return all;
}

std::string RandomCall::description() const {
    const RandomRows& points = problems.front().points;
    return "seed " + std::to_string(seed) + ": " + kind + ", batch " +
           std::to_string(problems.size()) + ", n " + std::to_string(points.n) + ", d " +
           std::to_string(points.d) + ", k " + std::to_string(k) + ", dtype " +
           std::to_string(static_cast<int>(points.dtype)) + ", stride " +
           std::to_string(points.row_stride) + ", given " +
           std::to_string(problems.front().initial.n) + ", weights " +
           std::to_string(problems.front().weights.size()) +
           (options.metric == Metric::l2 ? ", l2" : ", ip") + ", niter " +
           std::to_string(options.niter) + ", nredo " + std::to_string(options.nredo) +
           (options.spherical ? ", spherical" : "") + (options.int_centroids ? ", int" : "") +
           (options.frozen_centroids ? ", frozen" : "") + ", max " +
           std::to_string(options.max_points_per_centroid);
}

} // namespace faiss_flash::test
