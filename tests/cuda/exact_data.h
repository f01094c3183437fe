/// Points and centroids made to come near the bounds of a certificate.
#pragma once

#include <faiss_flash/kmeans.h>

#include <support/data.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <ostream>
#include <string>
#include <vector>

namespace faiss_flash::test {

struct ExactData {
    std::string name;
    int64_t n, k, d;
    Floats points, centroids;
    DType dtype = DType::f32;
};

/// Every 7th point is one of the centroids, moved a little.
inline ExactData near_centroids(
        const std::string& name, int64_t n, int64_t k, int64_t d, float spread) {
    ExactData data{name, n, k, d, normal(n, d, 1), normal(k, d, 2)};
    const Floats moves = normal(n, d, 3, 0, spread);
    for (int64_t i = 0; i < n; i += 7) {
        for (int64_t j = 0; j < d; j++) {
            const auto at = static_cast<size_t>(i * d + j);
            data.points[at] = data.centroids[static_cast<size_t>(i % k * d + j)] + moves[at];
        }
    }
    return data;
}

inline ExactData scaled(ExactData data, const std::string& name, double offset, double factor) {
    data.name = name;
    for (Floats* values : {&data.points, &data.centroids}) {
        for (float& value : *values) {
            value = static_cast<float>(offset + factor * value);
        }
    }
    return data;
}

/// Points between two centroids, off the middle by a fraction of the distance that gets smaller
/// from point to point, through all that f16, pairs of f16 and float32 can tell.
inline ExactData near_ties(const std::string& name, int64_t d, double offset) {
    const int64_t n = 3000;
    const int64_t k = 64;
    ExactData data{name, n, k, d, Floats(static_cast<size_t>(n * d)), normal(k, d, 5)};
    for (float& value : data.centroids) {
        value = static_cast<float>(value + offset);
    }
    std::mt19937 generator(6);
    for (int64_t i = 0; i < n; i++) {
        const auto a = static_cast<size_t>(generator() % static_cast<unsigned>(k));
        const auto b = static_cast<size_t>(generator() % static_cast<unsigned>(k));
        const double tilt = std::ldexp(i % 2 == 0 ? 1.0 : -1.0, -static_cast<int>(i % 40));
        for (int64_t j = 0; j < d; j++) {
            const auto column = static_cast<size_t>(j);
            const double u = data.centroids[a * static_cast<size_t>(d) + column];
            const double v = data.centroids[b * static_cast<size_t>(d) + column];
            data.points[static_cast<size_t>(i * d + j)] =
                    static_cast<float>((u + v) / 2 + tilt * (u - v));
        }
    }
    return data;
}

/// Every point has so many candidates: centroids are copies of few, in any order, moved by what f16
/// does not see.
inline ExactData near_copies(
        const std::string& name,
        int64_t n,
        int64_t k,
        int64_t d,
        int64_t copies,
        float spread = 1e-5f) {
    ExactData data{name, n, k, d, normal(n, d, 11), normal(k, d, 12)};
    const Floats moves = normal(k, d, 13, 0, spread);
    std::mt19937 generator(14);
    const auto different = static_cast<unsigned>(k / copies);
    for (size_t c = different; c < static_cast<size_t>(k); c++) {
        const size_t from = generator() % different;
        for (size_t j = 0; j < static_cast<size_t>(d); j++) {
            const size_t at = c * static_cast<size_t>(d) + j;
            data.centroids[at] = data.centroids[from * static_cast<size_t>(d) + j] + moves[at];
        }
    }
    return data;
}

/// Copies that are equal, also where a zero has a sign.
inline ExactData equal_copies(const std::string& name, int64_t k, int64_t d) {
    ExactData data = near_copies(name, 2000, k, d, 100, 0);
    for (size_t c = 0; c < static_cast<size_t>(k); c++) {
        data.centroids[c * static_cast<size_t>(d)] = c % 2 == 0 ? 0.0f : -0.0f;
    }
    return data;
}

inline ExactData with_type(
        ExactData data, const std::string& name, DType dtype, double mean, double spread) {
    data = scaled(data, name, mean, spread);
    data.dtype = dtype;
    return data;
}

/// Data that is made when a test asks for it: each test has a process of its own.
struct ExactCase {
    std::string name;
    std::function<ExactData()> make;
};

inline void PrintTo(const ExactCase& data, std::ostream* out) {
    *out << data.name;
}

inline ExactData plain_data() {
    return near_centroids("plain", 4000, 300, 48, 0.3f);
}

inline ExactData one_column_dominates() {
    ExactData data = plain_data();
    for (Floats* values : {&data.points, &data.centroids}) {
        for (size_t i = 5; i < values->size(); i += 48) {
            (*values)[i] *= 1e6f;
        }
    }
    return data;
}

inline ExactData one_outlier() {
    ExactData data = plain_data();
    data.points[48 * 11 + 3] = 1e20f;
    return data;
}

inline ExactData duplicated_centroids() {
    ExactData data = plain_data();
    for (size_t c = 150; c < 300; c++) {
        const auto from = data.centroids.begin() + (c - 150) * 48;
        std::copy_n(from, 48, data.centroids.begin() + c * 48);
    }
    return data;
}

inline ExactData points_as_centroids() {
    ExactData data{"", 6000, 200, 40, mixture(6000, 40, 200, 8, 1e-3f), {}};
    data.centroids.assign(data.points.begin(), data.points.begin() + 200 * 40);
    return data;
}

inline ExactData integer_data() {
    ExactData data{"", 6000, 256, 128, descriptors(6000, 128, 9), normal(256, 128, 10, 24, 30)};
    data.dtype = DType::u8;
    return data;
}

inline std::vector<ExactCase> exact_datasets() {
    std::vector<ExactCase> all;
    const auto add = [&all](const std::string& name, const std::function<ExactData()>& make) {
        all.push_back({name, [=] {
                           ExactData data = make();
                           data.name = name;
                           return data;
                       }});
    };
    const auto add_scaled = [&](const std::string& name, double offset, double factor) {
        add(name, [=] { return scaled(plain_data(), name, offset, factor); });
    };
    const auto add_typed = [&](const std::string& name, DType dtype, double mean, double spread) {
        add(name, [=] { return with_type(plain_data(), name, dtype, mean, spread); });
    };
    for (const int64_t d :
         {1, 2, 3, 4, 7, 8, 15, 16, 17, 31, 32, 33, 64, 100, 128, 257, 768, 2048}) {
        const int64_t n = d > 256 ? 1200 : 4000;
        add("columns" + std::to_string(d), [=] { return near_centroids("", n, 150, d, 0.3f); });
    }
    add("many_centroids", [] { return near_centroids("", 3000, 2500, 24, 0.3f); });
    add_scaled("offset", 1e4, 1e-2);
    add_scaled("large", 0, 1e30);
    add_scaled("large_squares", 0, 1e18);
    add_scaled("small", 0, 1e-30);
    add_scaled("subnormal", 0, 1e-40);
    add_scaled("tight", 1, 1e-5);
    add("one_column_dominates", one_column_dominates);
    add("one_outlier", one_outlier);
    add("duplicates", duplicated_centroids);
    add_scaled("constant", 3, 0);
    add("clustered", points_as_centroids);
    add("integers", integer_data);
    add_typed("i8", DType::i8, 3, 30);
    add_typed("f16", DType::f16, 0, 1);
    add_typed("bf16", DType::bf16, 0.5, 1);
    add_typed("f16_far", DType::f16, 3, 1);
    add_typed("f16_subnormal", DType::f16, 0, 1e-6);
    add_typed("bf16_tiny", DType::bf16, 0, 1e-30);
    // More open points than are compared at a time, and more candidates than their lists hold.
    add("all_open", [] { return near_copies("", 40000, 256, 24, 4); });
    add("all_open_wide", [] { return near_copies("", 20000, 160, 100, 4); });
    add("lists_overflow", [] { return near_copies("", 2000, 2100, 40, 100); });
    add("lists_overflow_wide", [] { return near_copies("", 1000, 1100, 300, 100); });
    add("equal_copies", [] { return equal_copies("", 2100, 40); });
    add("equal_copies_narrow", [] { return equal_copies("", 2100, 7); });
    for (const int64_t d : {5, 32, 128, 400}) {
        add("near_ties" + std::to_string(d), [=] { return near_ties("", d, 0); });
        add("near_ties_offset" + std::to_string(d), [=] { return near_ties("", d, 1000); });
    }
    return all;
}

} // namespace faiss_flash::test
