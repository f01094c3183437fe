/// Clusterings whose rows are cut into shards at random: the same bits as over one shard.
#pragma once

#include <faiss_flash/core/lloyd.h>

#include <support/data.h>

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <random>
#include <string>
#include <vector>

namespace faiss_flash::test {

struct ShardedRun {
    std::string name;
    int64_t batch, n, k, d, given;
    bool weighted;
    DType dtype;
    KMeansOptions options;
};

/// Every metric, rule and type; shapes for each assigner of a backend.
inline std::vector<ShardedRun> sharded_runs() {
    KMeansOptions plain;
    plain.niter = 8;
    plain.early_stop_threshold.reset();
    KMeansOptions products = plain;
    products.metric = Metric::inner_product;
    KMeansOptions spherical = products;
    spherical.spherical = true;
    KMeansOptions integers = plain;
    integers.int_centroids = true;
    KMeansOptions frozen = plain;
    frozen.frozen_centroids = true;
    KMeansOptions restarts = plain;
    restarts.nredo = 3;
    restarts.early_stop_threshold = 1e-3;
    KMeansOptions fast = plain;
    fast.precision = Precision::fast;
    KMeansOptions fast_products = fast;
    fast_products.metric = Metric::inner_product;
    KMeansOptions lasting = plain;
    lasting.niter = 40; // a GPU replays the last ones
    KMeansOptions fast_lasting = fast;
    fast_lasting.niter = 40;
    KMeansOptions averages = plain; // in a few batches
    averages.algorithm = Algorithm::e_means;
    averages.niter = 3;
    KMeansOptions quality = averages; // in many
    quality.operating_point = OperatingPoint::quality;
    KMeansOptions averaged_restarts = quality;
    averaged_restarts.nredo = 2;
    KMeansOptions whole_steps = averages;
    whole_steps.batch_size = 700;
    whole_steps.alpha0 = 1;
    KMeansOptions averaged_products = quality;
    averaged_products.metric = Metric::inner_product;
    KMeansOptions averaged_spheres = averaged_products;
    averaged_spheres.spherical = true;
    KMeansOptions averaged_integers = quality;
    averaged_integers.int_centroids = true;
    KMeansOptions averaged_frozen = quality;
    averaged_frozen.frozen_centroids = true;
    constexpr DType kFloats = DType::f32;
    return {{"l2", 1, 6000, 50, 48, 0, false, kFloats, plain},
            {"products", 1, 6000, 50, 48, 0, false, kFloats, products},
            {"l2 of more", 1, 30000, 400, 100, 0, false, kFloats, plain},
            {"products of more", 1, 30000, 400, 100, 0, false, kFloats, products},
            {"weighted", 1, 6000, 50, 48, 0, true, kFloats, plain},
            {"weighted products", 1, 3000, 30, 33, 0, true, kFloats, spherical},
            {"spherical", 1, 5000, 40, 24, 0, false, kFloats, spherical},
            {"integers", 1, 5000, 40, 24, 0, false, kFloats, integers},
            {"frozen", 1, 3000, 40, 40, 7, false, kFloats, frozen},
            {"restarts", 1, 3000, 40, 64, 3, false, kFloats, restarts},
            {"weighted restarts", 1, 3000, 40, 64, 0, true, kFloats, restarts},
            {"empty clusters", 1, 1300, 1000, 40, 0, false, kFloats, plain},
            {"many clusters", 1, 20000, 5000, 20, 0, false, kFloats, plain},
            {"long rows", 1, 900, 20, 800, 0, false, kFloats, plain},
            {"short rows", 1, 9000, 64, 4, 0, false, kFloats, plain},
            {"short rows, many", 1, 150000, 256, 8, 0, false, kFloats, plain},
            {"batch", 3, 4000, 30, 40, 0, false, kFloats, restarts},
            {"batch of short rows", 5, 4000, 64, 8, 0, false, kFloats, restarts},
            {"batch of short products", 5, 4000, 64, 8, 0, false, kFloats, products},
            {"many iterations", 1, 6000, 50, 48, 0, false, kFloats, lasting},
            {"many weighted iterations", 1, 3000, 30, 33, 0, true, kFloats, lasting},
            {"many iterations of a batch", 3, 4000, 30, 40, 0, false, kFloats, lasting},
            {"many iterations of short rows", 5, 4000, 64, 8, 0, false, kFloats, lasting},
            {"averages", 1, 6000, 50, 48, 0, false, kFloats, averages},
            {"averages of more", 1, 30000, 400, 100, 0, false, kFloats, quality},
            {"averages, many clusters", 1, 20000, 5000, 20, 0, false, kFloats, averages},
            {"averages of short rows", 1, 9000, 64, 4, 0, false, kFloats, quality},
            {"averages of long rows", 1, 900, 20, 800, 0, false, kFloats, quality},
            {"weighted averages", 1, 6000, 50, 48, 0, true, kFloats, quality},
            {"averages, restarts", 1, 3000, 40, 64, 3, false, kFloats, averaged_restarts},
            {"averages, whole steps", 1, 5000, 90, 24, 0, false, kFloats, whole_steps},
            {"averages of products", 1, 5000, 40, 24, 0, false, kFloats, averaged_products},
            {"weighted averages of spheres", 1, 5000, 40, 24, 0, true, kFloats, averaged_spheres},
            {"averages, integers", 1, 5000, 40, 24, 0, false, DType::u8, averaged_integers},
            {"averages, frozen", 1, 3000, 40, 40, 7, false, kFloats, averaged_frozen},
            {"averages of halves", 1, 6000, 50, 64, 0, false, DType::f16, averages},
            {"halves", 1, 6000, 50, 64, 0, false, DType::f16, plain},
            {"fast", 1, 6000, 50, 64, 0, false, DType::f16, fast},
            {"fast bf16", 1, 40000, 300, 72, 0, false, DType::bf16, fast},
            {"many fast iterations", 1, 6000, 50, 64, 0, false, DType::f16, fast_lasting},
            {"fast batch", 4, 5000, 60, 64, 0, false, DType::f16, fast},
            {"fast products", 2, 5000, 60, 40, 0, false, DType::bf16, fast_products},
            {"fast bytes", 1, 6000, 50, 32, 0, false, DType::u8, fast}};
}

/// Small integers, which every type holds.
template <class Integer>
std::vector<uint8_t> encoded(const Floats& values, const Integer& integer) {
    std::vector<uint8_t> bytes;
    for (const float value : values) {
        const auto encoded_value = integer(value);
        const auto* from = reinterpret_cast<const uint8_t*>(&encoded_value);
        bytes.insert(bytes.end(), from, from + sizeof encoded_value);
    }
    return bytes;
}

inline std::vector<uint8_t> rows_of(const Floats& values, DType dtype) {
    const auto rounded = [](float value) { return std::min(100.0f, std::floor(8 * value + 50)); };
    switch (dtype) {
        case DType::f16: // 32 + i has exponent 5 and five bits of i at the top of its mantissa
            return encoded(values, [&](float value) {
                const auto low = static_cast<unsigned>(std::max(0.0f, rounded(value))) % 32;
                return static_cast<uint16_t>(0x5000 | low << 5);
            });
        case DType::bf16:
            return encoded(values, [](float value) {
                uint32_t bits;
                std::memcpy(&bits, &value, sizeof bits);
                return static_cast<uint16_t>(bits >> 16);
            });
        case DType::u8:
            return encoded(values, [&](float value) {
                return static_cast<uint8_t>(std::max(0.0f, rounded(value)));
            });
        case DType::i8:
            return encoded(values, [&](float value) {
                return static_cast<int8_t>(std::max(-100.0f, rounded(value)));
            });
        default:
            return encoded(values, [](float value) { return value; });
    }
}

inline std::vector<int64_t> random_cuts(int64_t n, size_t count, std::mt19937& generator) {
    std::vector<int64_t> cuts;
    while (cuts.size() < count) {
        const int64_t cut = generator() % 4 == 0 // a shard of one row
                                    ? (generator() % 2 ? 1 : n - 1)
                                    : 1 + static_cast<int64_t>(generator()) % (n - 1);
        if (std::find(cuts.begin(), cuts.end(), cut) == cuts.end()) {
            cuts.push_back(cut);
        }
    }
    std::sort(cuts.begin(), cuts.end());
    return cuts;
}

/// Shards on a device have had their rows assigned; others leave that to the caller.
inline void expect_assigned(
        const Backend& backend, const Points& points, Metric metric, const KMeansResult& result) {
    if (&backend == &host_backend()) {
        EXPECT_TRUE(result.assignment.empty());
        EXPECT_TRUE(result.distances.empty());
        return;
    }
    std::vector<int64_t> ids(static_cast<size_t>(points.n()));
    Floats distances(ids.size());
    const float* centroids = result.centroids.data();
    host_backend().assign(points, centroids, result.k, metric, ids.data(), distances.data());
    EXPECT_EQ(result.assignment, ids);
    EXPECT_EQ(result.distances, distances);
}

inline void expect_same_for_any_cuts(const Backend& backend) {
    std::mt19937 generator(1);
    for (const ShardedRun& run : sharded_runs()) {
        SCOPED_TRACE(run.name);
        const Floats x = normal(run.batch * run.n, run.d, 31, 1, 3);
        const std::vector<uint8_t> rows = rows_of(x, run.dtype);
        Floats weights = normal(run.n, 1, 32, 2, 0.5);
        for (float& weight : weights) {
            weight = std::max(0.0f, weight - 1);
        }
        const auto row_bytes = static_cast<int64_t>(rows.size()) / (run.batch * run.n);
        std::vector<Problem> problems;
        std::vector<Floats> initial;
        for (int64_t b = 0; b < run.batch; b++) {
            VectorView view = VectorView::of(nullptr, run.n, run.d);
            view.data = rows.data() + b * run.n * row_bytes;
            view.dtype = run.dtype;
            problems.push_back({Points(view), run.weighted ? weights.data() : nullptr});
            initial.emplace_back(x.begin(), x.begin() + run.given * run.d);
        }
        KMeansOptions options = run.options;
        options.return_assignment = true;
        const auto expected = run_lloyd(backend, problems, initial, run.k, options);
        for (size_t b = 0; b < expected.size(); b++) {
            expect_assigned(backend, problems[b].points, options.metric, expected[b]);
        }
        for (const size_t shards : {2, 3}) {
            const auto cuts = random_cuts(run.n, shards - 1, generator);
            SCOPED_TRACE(testing::Message() << "cut at " << testing::PrintToString(cuts));
            const auto got = run_lloyd(backend, problems, initial, run.k, options, nullptr, cuts);
            for (size_t b = 0; b < expected.size(); b++) {
                EXPECT_EQ(got[b].centroids, expected[b].centroids);
                EXPECT_EQ(got[b].assignment, expected[b].assignment);
                EXPECT_EQ(got[b].distances, expected[b].distances);
                ASSERT_EQ(got[b].iterations.size(), expected[b].iterations.size());
                for (size_t i = 0; i < expected[b].iterations.size(); i++) {
                    const IterationStats& mine = got[b].iterations[i];
                    const IterationStats& theirs = expected[b].iterations[i];
                    EXPECT_EQ(mine.objective, theirs.objective) << i;
                    EXPECT_EQ(mine.imbalance_factor, theirs.imbalance_factor) << i;
                    EXPECT_EQ(mine.nsplit, theirs.nsplit) << i;
                }
            }
        }
    }
}

} // namespace faiss_flash::test
