/// Calls of the engine with everything about them drawn from a seed.
#pragma once

#include <faiss_flash/kmeans.h>

#include <cstdint>
#include <memory>
#include <random>
#include <string>
#include <vector>

namespace faiss_flash::test {

/// Draws that are the same wherever they are made.
class Draw {
   public:
    explicit Draw(uint64_t seed) : generator_(seed) {}
    /// low .. high, each as likely.
    int64_t between(int64_t low, int64_t high) {
        return low + static_cast<int64_t>(generator_() % static_cast<uint64_t>(high - low + 1));
    }
    bool one_in(int64_t n) { return between(1, n) == 1; }
    double uniform() { return static_cast<double>(generator_() >> 11) * 0x1p-53; }
    /// Sum of uniform numbers: close enough to a normal one.
    float normal() {
        double sum = -6;
        for (int i = 0; i < 12; i++) {
            sum += uniform();
        }
        return static_cast<float>(sum);
    }
    template <class T>
    const T& of(const std::vector<T>& values) {
        return values[static_cast<size_t>(between(0, static_cast<int64_t>(values.size()) - 1))];
    }

   private:
    std::mt19937_64 generator_;
};

/// Rows in their own type and layout, and as the floats that they stand for.
struct RandomRows {
    int64_t n = 0, d = 0, row_stride = 0;
    DType dtype = DType::f32;
    std::vector<uint8_t> bytes;
    std::vector<float> floats; ///< [n x d]

    VectorView view() const;
};

struct RandomProblem {
    RandomRows points, initial; ///< initial.n = 0: none
    std::vector<float> weights; ///< empty: none
};

/// A call of batch_kmeans() or of assign().
struct RandomCall {
    explicit RandomCall(uint64_t seed);
    std::string description() const;
    std::vector<KMeansInput> inputs() const;

    uint64_t seed;
    std::string kind; ///< of the data
    std::vector<RandomProblem> problems;
    RandomRows centroids; ///< of assign()
    int64_t k = 1;
    KMeansOptions options;
    double squares = 0; ///< of all coordinates: what objectives are sums of
};

} // namespace faiss_flash::test
