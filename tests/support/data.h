/// Data sets that the tests share. All are made from fixed seeds.
#pragma once

#include <cmath>
#include <cstdint>
#include <random>
#include <string>
#include <vector>

namespace faiss_flash::test {

using Floats = std::vector<float>;

inline Floats normal(int64_t n, int64_t d, unsigned seed, float mean = 0, float spread = 1) {
    std::mt19937 generator(seed);
    std::normal_distribution<float> distribution(mean, spread);
    Floats x(static_cast<size_t>(n * d));
    for (float& value : x) {
        value = distribution(generator);
    }
    return x;
}

/// Non-negative integers with many zeros and a few large values, like gradient histograms.
inline Floats descriptors(int64_t n, int64_t d, unsigned seed, float offset = 0) {
    std::mt19937 generator(seed);
    std::gamma_distribution<float> distribution(0.6f, 40.0f);
    Floats x(static_cast<size_t>(n * d));
    for (float& value : x) {
        value = std::min(255.0f, std::floor(distribution(generator))) + offset;
    }
    return x;
}

/// Points around `centers` centers.
inline Floats mixture(int64_t n, int64_t d, int64_t centers, unsigned seed, float spread) {
    const Floats middle = normal(centers, d, seed + 1000);
    Floats x = normal(n, d, seed, 0, spread);
    std::mt19937 generator(seed + 2000);
    for (int64_t i = 0; i < n; i++) {
        const int64_t c = static_cast<int64_t>(generator()) % centers;
        for (int64_t j = 0; j < d; j++) {
            x[static_cast<size_t>(i * d + j)] += middle[static_cast<size_t>(c * d + j)];
        }
    }
    return x;
}

} // namespace faiss_flash::test
