/// The engine's kernels, each by itself, and the answer that all of them must give to the last bit:
/// float64 over all centroids, summed up in row_ops.h's order, ties to the lowest id.
#pragma once

#include <faiss_flash/cpu/assign.h>
#include <faiss_flash/cpu/centroid_table.h>
#include <faiss_flash/kmeans.h>

#include <support/data.h>

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <string>
#include <tuple>
#include <vector>

namespace faiss_flash::cpu {

/// What assigns: a score kernel for all rows, or for all but short ones, or codes in its place.
struct Kernels {
    const ScoreKernel* scores;
    const NarrowKernel* narrow;
    const CodeKernel* codes;

    std::string name() const {
        return narrow  ? std::string("narrow_") + narrow->isa
               : codes ? std::string("codes_") + codes->name
                       : std::string(scores->name);
    }
};

inline std::vector<Kernels> all_code_kernels() {
    std::vector<Kernels> all;
    for (const CodeKernel* codes : code_kernels()) {
        all.push_back({&score_kernel(), nullptr, codes});
    }
    return all;
}

inline std::vector<Kernels> all_score_kernels() {
    std::vector<Kernels> all = all_code_kernels();
    for (const ScoreKernel* scores : score_kernels()) {
        all.push_back({scores, nullptr, nullptr});
    }
    return all;
}

inline std::vector<Kernels> all_kernels() {
    std::vector<Kernels> all = all_score_kernels();
    for (const NarrowKernel* narrow : narrow_kernels()) {
        all.push_back({&score_kernel(), narrow, nullptr});
    }
    return all;
}

struct Outcome {
    std::vector<int64_t> ids;
    std::vector<double> values;
    int64_t decided = 0;
};

/// @param guesses  [n] or empty
inline Outcome run(
        const CentroidTable& table,
        const Points& points,
        const std::vector<int32_t>& guesses = {},
        const CodedPoints* coded = nullptr) {
    BlockAssigner assigner(points, table, coded);
    Outcome outcome;
    const int64_t rows = BlockAssigner::rows_per_block(points.n(), table);
    for (int64_t first = 0; first < points.n(); first += rows) {
        const auto count = static_cast<size_t>(std::min(rows, points.n() - first));
        std::vector<int32_t> ids(count, 0x5a5a5a5a); // poisoned: every entry must be written
        std::vector<double> values(count, -12345);
        outcome.decided += assigner.run(
                first,
                static_cast<int64_t>(count),
                guesses.empty() ? nullptr : guesses.data() + first,
                ids.data(),
                values.data());
        outcome.ids.insert(outcome.ids.end(), ids.begin(), ids.end());
        outcome.values.insert(outcome.values.end(), values.begin(), values.end());
    }
    return outcome;
}

/// @param frame  of points that were coded before, or null
inline CentroidTable table_of(
        const Kernels& kernels,
        const test::Floats& centroids,
        int64_t d,
        Metric metric,
        const Frame* frame = nullptr) {
    const auto k = static_cast<int64_t>(centroids.size()) / d;
    return {centroids.data(), k, d, metric, *kernels.scores, kernels.narrow, kernels.codes, frame};
}

inline Outcome
run(const Kernels& kernels, const Points& points, const test::Floats& centroids, Metric metric) {
    return run(table_of(kernels, centroids, points.d(), metric), points);
}

/// Eight sums of every eighth term, added in pairs.
inline double float64_value(Metric metric, const float* x, const float* c, int64_t d) {
    double lane[8] = {};
    for (int64_t j = 0; j < d; j++) {
        const auto a = static_cast<double>(x[j]);
        const auto b = static_cast<double>(c[j]);
        const double term = metric == Metric::l2 ? (a - b) * (a - b) : a * b;
        lane[j % 8] += term;
    }
    return ((lane[0] + lane[4]) + (lane[2] + lane[6])) +
           ((lane[1] + lane[5]) + (lane[3] + lane[7]));
}

inline Outcome brute_force(
        Metric metric, const test::Floats& x, const test::Floats& centroids, int64_t d) {
    Outcome best;
    for (auto row = x.data(); row != x.data() + x.size(); row += d) {
        int64_t id = 0;
        double value = float64_value(metric, row, centroids.data(), d);
        for (int64_t c = 1; c < static_cast<int64_t>(centroids.size()) / d; c++) {
            const double other = float64_value(metric, row, centroids.data() + c * d, d);
            if (metric == Metric::l2 ? other < value : other > value) {
                id = c;
                value = other;
            }
        }
        const bool finite = std::all_of(row, row + d, [](float a) { return std::isfinite(a); });
        best.ids.push_back(finite ? id : -1);
        best.values.push_back(finite ? value : std::numeric_limits<double>::quiet_NaN());
    }
    return best;
}

/// Same ids, same values to the last bit.
inline void expect_same(const Outcome& outcome, const Outcome& expected) {
    ASSERT_EQ(outcome.ids.size(), expected.ids.size());
    int wrong = 0;
    for (size_t i = 0; i < expected.ids.size() && wrong < 5; i++) {
        const double value = outcome.values[i];
        const double right = expected.values[i];
        const bool both_none = std::isnan(value) && std::isnan(right);
        const bool same =
                both_none || (value == right && std::signbit(value) == std::signbit(right));
        if (outcome.ids[i] != expected.ids[i] || !same) {
            wrong++;
            ADD_FAILURE() << "row " << i << ": id " << outcome.ids[i] << " value " << value
                          << ", expected " << expected.ids[i] << " " << right;
        }
    }
}

struct EveryKernel : testing::TestWithParam<std::tuple<Kernels, Metric>> {
    Kernels kernels = std::get<0>(GetParam());
    Metric metric = std::get<1>(GetParam());

    Outcome expect_float64(const test::Floats& x, const test::Floats& centroids, int64_t d) const {
        const auto n = static_cast<int64_t>(x.size()) / d;
        const auto outcome =
                run(kernels, Points(VectorView::of(x.data(), n, d)), centroids, metric);
        expect_same(outcome, brute_force(metric, x, centroids, d));
        return outcome;
    }

    static std::string name(const testing::TestParamInfo<ParamType>& tested) {
        return std::get<0>(tested.param).name() +
               (std::get<1>(tested.param) == Metric::l2 ? "_l2" : "_inner_product");
    }
    static auto every() {
        return testing::Combine(
                testing::ValuesIn(all_kernels()),
                testing::Values(Metric::l2, Metric::inner_product));
    }
};

} // namespace faiss_flash::cpu
