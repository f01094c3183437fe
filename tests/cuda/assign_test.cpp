/// Every assignment kernel against exact scores in float64.
#include <faiss_flash/cuda/assign/assign.h>
#include <faiss_flash/cuda/device_info.h>

#include <cuda/device_data.h>
#include <support/data.h>

#include <gtest/gtest.h>

#include <cmath>
#include <cstdio>
#include <functional>
#include <limits>
#include <ostream>

namespace faiss_flash::cuda {
namespace {

using test::Floats;

struct Case {
    int64_t n, k, d;
    int64_t batch = 1;
    int64_t padding = 0; ///< elements between rows
    int64_t offset = 0;  ///< elements before the first row
};

void PrintTo(const Case& tested, std::ostream* out) {
    *out << "n=" << tested.n << " k=" << tested.k << " d=" << tested.d << " batch=" << tested.batch
         << " padding=" << tested.padding << " offset=" << tested.offset;
}

/// Values as the device has them, and where they lie there.
struct Problem {
    Case shape;
    bool bf16;
    Metric metric;
    Floats points;    // [batch x n x d]
    Floats centroids; // [batch x k x d]
    test::DevicePointer device_points, device_centroids;
    TensorRows rows;

    Problem(const Case& tested, bool bf16_in, Metric metric_in, Floats x, Floats c)
        : shape(tested),
          bf16(bf16_in),
          metric(metric_in),
          points(std::move(x)),
          centroids(std::move(c)) {
        const int64_t stride = shape.d + shape.padding;
        // Between the rows lies what would spoil every score.
        std::vector<uint16_t> raw(
                static_cast<size_t>(shape.offset + shape.batch * shape.n * stride), 0x7C00);
        for (int64_t i = 0; i < shape.batch * shape.n; i++) {
            for (int64_t j = 0; j < shape.d; j++) {
                float& value = points[static_cast<size_t>(i * shape.d + j)];
                raw[static_cast<size_t>(shape.offset + i * stride + j)] = test::bits(value, bf16);
                value = test::rounded(value, bf16);
            }
        }
        device_points = test::to_device(raw.data(), raw.size() * 2);
        device_centroids = test::to_device(centroids.data(), centroids.size() * sizeof(float));
        for (float& value : centroids) {
            value = test::rounded(value, bf16);
        }
        rows.data = static_cast<const uint16_t*>(device_points.get()) + shape.offset;
        rows.bf16 = bf16;
        rows.columns = shape.d;
        rows.rows = shape.n;
        rows.batch = shape.batch;
        rows.row_bytes = 2 * stride;
        rows.batch_bytes = 2 * stride * shape.n;
    }
};

struct Answer {
    std::vector<float> best, second;
    std::vector<int32_t> ids;
};

Answer run(const Problem& problem, const AssignPlan& plan, bool want_second = true) {
    const Case& shape = problem.shape;
    const auto count = static_cast<size_t>(shape.batch * shape.n);
    const test::Output<float> best(count);
    const test::Output<float> second(count);
    const test::Output<int32_t> ids(count);
    Allocated<TensorCentroids> table(nullptr, [&](Arena& arena) {
        return TensorCentroids(shape.batch, shape.k, shape.d, problem.bf16, problem.metric, arena);
    });
    prepare_centroids(static_cast<const float*>(problem.device_centroids.get()), *table, nullptr);
    AssignOutput output;
    output.best = best.get();
    output.second = want_second ? second.get() : nullptr;
    output.ids = ids.get();
    const Allocated<AssignWorkspace> workspace(nullptr, [&](Arena& arena) {
        return AssignWorkspace(plan, shape_of(problem.rows, *table, output), arena);
    });
    find_best(problem.rows, *table, output, *workspace, nullptr);
    check(cudaDeviceSynchronize(), "assign");
    EXPECT_TRUE(best.margin_is_untouched() && ids.margin_is_untouched());
    EXPECT_TRUE(second.margin_is_untouched());
    return {best.read(), second.read(), ids.read()};
}

/// The plans of a shape, for each kernel the one without splits and the one with the most.
std::vector<AssignPlan> plans_of(const Problem& problem) {
    const Case& shape = problem.shape;
    std::vector<AssignPlan> plans;
    for (const AssignPlan& plan : assign_plans(
                 {shape.batch, shape.n, shape.k, shape.d, true, alignment_of(problem.rows)},
                 device_info())) {
        if (plan.splits > 1 && plans.back().splits > 1) {
            plans.back() = plan;
        } else {
            plans.push_back(plan);
        }
    }
    return plans;
}

std::string name_of(const AssignPlan& plan) {
    static const char* const names[] = {"narrow", "resident", "streamed", "onchip", "generic"};
    return names[static_cast<int>(plan.kernel)] + std::string("_splits") +
           std::to_string(plan.splits);
}

/// Compares with float64; the difference allowed is what float32 sums of d products may be off by.
/// Returns the rows whose id is not the exact argmax.
int64_t compare(const Problem& problem, const Answer& answer) {
    const auto [n, k, d, batch, padding, offset] = problem.shape;
    int64_t differing = 0;
    int64_t wrong = 0;
#pragma omp parallel for reduction(+ : differing, wrong)
    for (int64_t i = 0; i < batch * n; i++) {
        const float* x = &problem.points[static_cast<size_t>(i * d)];
        double best = -HUGE_VAL;
        double second = -HUGE_VAL;
        double mine = 0;
        double size = 0;
        int64_t id = -1;
        const int32_t got = answer.ids[static_cast<size_t>(i)];
        for (int64_t c = 0; c < k; c++) {
            const float* y = &problem.centroids[static_cast<size_t>((i / n * k + c) * d)];
            double product = 0;
            double norm = 0;
            double magnitude = 0;
            for (int64_t j = 0; j < d; j++) {
                product += double{x[j]} * double{y[j]};
                magnitude += std::abs(double{x[j]} * double{y[j]});
                norm += double{y[j]} * double{y[j]};
            }
            const double score = product - (problem.metric == Metric::l2 ? 0.5 * norm : 0.0);
            size = std::max(size, magnitude + 0.5 * norm);
            mine = c == got ? score : mine;
            if (score > best) {
                second = best;
                best = score;
                id = c;
            } else {
                second = std::max(second, score);
            }
        }
        const double allowed = 2.0 * std::sqrt(static_cast<double>(d) + 1) * size * 0x1p-23 + 1e-30;
        const double got_best = answer.best[static_cast<size_t>(i)];
        const double got_second = answer.second[static_cast<size_t>(i)];
        const bool second_holds =
                k == 1 ? got_second == -HUGE_VAL : std::abs(got_second - second) <= allowed;
        const bool holds = got >= 0 && got < k && mine >= best - allowed &&
                           std::abs(got_best - best) <= allowed && second_holds;
        wrong += !holds;
        differing += got != id;
    }
    EXPECT_EQ(wrong, 0);
    return differing;
}

struct GpuTest : testing::Test {
    void SetUp() override {
        if (device_count() == 0) {
            GTEST_SKIP() << "no CUDA device";
        }
    }
};

struct Assign : testing::TestWithParam<Case> {
    void SetUp() override {
        if (device_count() == 0) {
            GTEST_SKIP() << "no CUDA device";
        }
    }
};

TEST_P(Assign, EqualsFloat64) {
    const Case& tested = GetParam();
    for (const bool bf16 : {false, true}) {
        for (const Metric metric : {Metric::l2, Metric::inner_product}) {
            const Problem problem(
                    tested,
                    bf16,
                    metric,
                    test::normal(tested.batch * tested.n, tested.d, 1),
                    test::normal(tested.batch * tested.k, tested.d, 2));
            for (const AssignPlan& plan : plans_of(problem)) {
                SCOPED_TRACE(name_of(plan));
                const Answer answer = run(problem, plan);
                const int64_t differing = compare(problem, answer);
                EXPECT_LE(differing, 1 + tested.n * tested.batch / 1000) << "near-ties only";
                const Answer without = run(problem, plan, false);
                EXPECT_EQ(without.ids, answer.ids);
                EXPECT_EQ(without.best, answer.best);
            }
        }
    }
}

INSTANTIATE_TEST_SUITE_P(
        Shapes,
        Assign,
        testing::Values(
                Case{1, 1, 1},
                Case{1, 1, 128},
                Case{2, 5, 3},
                Case{255, 127, 128},
                Case{256, 128, 128},
                Case{257, 129, 128},
                Case{7, 1031, 64},
                Case{1009, 257, 8},
                Case{5003, 1021, 16},
                Case{4099, 515, 32},
                Case{3001, 100, 40},
                Case{2003, 769, 48},
                Case{2003, 1000, 96},
                Case{1511, 300, 104},
                Case{1511, 300, 136},
                Case{1201, 513, 192},
                Case{1201, 513, 256},
                Case{513, 260, 264},
                Case{300, 150, 768},
                Case{129, 131, 1000},
                Case{130, 129, 4096}),
        [](const auto& tested) { return "case" + std::to_string(tested.index); });

INSTANTIATE_TEST_SUITE_P(
        Batches,
        Assign,
        testing::Values(
                Case{300, 40, 128, 5},
                Case{65, 256, 8, 33},
                Case{257, 129, 24, 3},
                Case{100, 70, 300, 4}),
        [](const auto& tested) { return "case" + std::to_string(tested.index); });

INSTANTIATE_TEST_SUITE_P(
        Layouts,
        Assign,
        testing::Values(
                Case{500, 200, 128, 1, 8},
                Case{500, 200, 128, 1, 3},
                Case{500, 200, 128, 1, 0, 1},
                Case{500, 200, 128, 1, 0, 8},
                Case{500, 200, 17, 2},
                Case{300, 200, 61, 3, 2, 5},
                Case{300, 200, 120, 2, 8}),
        [](const auto& tested) { return "case" + std::to_string(tested.index); });

struct AssignKernels : testing::TestWithParam<AssignPlan> {
    void SetUp() override {
        if (device_count() == 0) {
            GTEST_SKIP() << "no CUDA device";
        }
    }
    /// False where this device has no such kernel.
    bool runs(const Problem& problem) const {
        for (const AssignPlan& plan : plans_of(problem)) {
            if (plan.kernel == GetParam().kernel) {
                return true;
            }
        }
        return false;
    }
};

INSTANTIATE_TEST_SUITE_P(
        Kernels,
        AssignKernels,
        testing::Values(
                AssignPlan{AssignKernel::narrow, 1},
                AssignPlan{AssignKernel::narrow, 2},
                AssignPlan{AssignKernel::resident, 1},
                AssignPlan{AssignKernel::resident, 2},
                AssignPlan{AssignKernel::streamed, 1},
                AssignPlan{AssignKernel::streamed, 2},
                AssignPlan{AssignKernel::onchip, 1},
                AssignPlan{AssignKernel::generic, 1},
                AssignPlan{AssignKernel::generic, 2}),
        [](const auto& tested) { return name_of(tested.param); });

/// Every centroid several times, in other tiles, halves of tiles, groups and lanes.
TEST_P(AssignKernels, TiesGoToTheLowestId) {
    for (const int64_t d : {16, 64, 128, 256}) {
        const Case shape{3000, 1100, d};
        Floats centroids = test::normal(shape.k, d, 3);
        const int64_t distinct = 67;
        for (int64_t c = distinct; c < shape.k; c++) {
            std::copy_n(
                    &centroids[static_cast<size_t>(c % distinct * d)],
                    d,
                    &centroids[static_cast<size_t>(c * d)]);
        }
        const Problem problem(shape, false, Metric::l2, test::normal(shape.n, d, 4), centroids);
        if (!runs(problem)) {
            continue; // not this d, or not on this device
        }
        const Answer answer = run(problem, GetParam());
        for (size_t i = 0; i < answer.ids.size(); i++) {
            ASSERT_LT(answer.ids[i], distinct) << i << " d=" << d;
            ASSERT_EQ(answer.second[i], answer.best[i]) << i << " d=" << d;
        }
        compare(problem, answer);
    }
}

TEST_P(AssignKernels, ExtremeValues) {
    for (const int64_t d : {16, 32, 64, 128}) {
        const Case shape{2000, 500, d};
        for (const float scale : {1e-4f, 60.0f, 2000.0f, 1e12f, 1e-12f}) {
            const bool bf16 = scale > 1000 || scale < 1e-10f;
            for (const Metric metric : {Metric::l2, Metric::inner_product}) {
                Floats x = test::normal(shape.n, d, 5, 0, scale);
                Floats c = test::normal(shape.k, d, 6, 0, scale);
                const Problem problem(shape, bf16, metric, std::move(x), std::move(c));
                if (runs(problem)) {
                    SCOPED_TRACE(scale);
                    compare(problem, run(problem, GetParam()));
                }
            }
        }
    }
}

/// Points far longer or shorter than the centroids.
TEST_P(AssignKernels, UnequalLengths) {
    for (const int64_t d : {8, 32, 64, 128}) {
        for (const float scale : {1e-3f, 1e3f}) {
            const Case shape{1000, 300, d};
            for (const Metric metric : {Metric::l2, Metric::inner_product}) {
                const Problem problem(
                        shape,
                        false,
                        metric,
                        test::normal(shape.n, d, 15, 0, scale),
                        test::normal(shape.k, d, 16));
                if (runs(problem)) {
                    SCOPED_TRACE(scale);
                    compare(problem, run(problem, GetParam()));
                }
            }
        }
    }
}

/// All products are 0: the lowest id.
TEST_P(AssignKernels, PointsOfZeros) {
    for (const int64_t d : {8, 32, 64, 128}) {
        const Case shape{300, 400, d};
        const Problem problem(
                shape,
                false,
                Metric::inner_product,
                Floats(static_cast<size_t>(shape.n * d), 0.0f),
                test::normal(shape.k, d, 16));
        if (runs(problem)) {
            const Answer answer = run(problem, GetParam());
            EXPECT_EQ(answer.ids, std::vector<int32_t>(static_cast<size_t>(shape.n), 0));
            EXPECT_EQ(answer.best, Floats(static_cast<size_t>(shape.n), 0.0f));
        }
    }
}

/// All scores are negative here, and far from 0.
TEST_P(AssignKernels, FarCentroids) {
    for (const int64_t d : {16, 32, 64, 128}) {
        const Case shape{1000, 300, d};
        const Problem problem(
                shape,
                false,
                Metric::l2,
                test::normal(shape.n, d, 7, -3),
                test::normal(shape.k, d, 8, 5));
        if (runs(problem)) {
            const Answer answer = run(problem, GetParam());
            EXPECT_LT(*std::max_element(answer.best.begin(), answer.best.end()), 0);
            compare(problem, answer);
        }
    }
}

/// Large enough that every block goes around its rings many times; three runs give the same bits.
TEST_P(AssignKernels, LargeAndReproducible) {
    for (const int64_t d : {8, 32, 64, 96, 128, 256}) {
        const Case shape{40000, 700, d};
        const Problem problem(
                shape,
                false,
                Metric::l2,
                test::normal(shape.n, d, 9),
                test::normal(shape.k, d, 10));
        if (!runs(problem)) {
            continue; // not this d, or not on this device
        }
        const Answer first = run(problem, GetParam());
        const int64_t differing = compare(problem, first);
        EXPECT_LE(differing, 40);
        std::printf(
                "d=%d: %d of %d ids are not the float64 argmax of the rounded values\n",
                static_cast<int>(d),
                static_cast<int>(differing),
                static_cast<int>(shape.n));
        for (int repeat = 0; repeat < 2; repeat++) {
            const Answer again = run(problem, GetParam());
            EXPECT_EQ(again.ids, first.ids) << "d=" << d;
            EXPECT_EQ(again.best, first.best) << "d=" << d;
            EXPECT_EQ(again.second, first.second) << "d=" << d;
        }
    }
}

struct AssignBadInput : GpuTest {};

TEST_F(AssignBadInput, IsNamed) {
    const Case shape{10, 5, 16};
    const Problem problem(
            shape, false, Metric::l2, test::normal(10, 16, 1), test::normal(5, 16, 2));
    const auto prepare = [&](int64_t batch, int64_t k, int64_t d) {
        return Allocated<TensorCentroids>(nullptr, [&](Arena& arena) {
            return TensorCentroids(batch, k, d, false, Metric::l2, arena);
        });
    };
    const auto expect = [](const std::function<void()>& call, const std::string& text) {
        try {
            call();
            ADD_FAILURE() << "accepted; expected " << text;
        } catch (const InvalidArgument& error) {
            EXPECT_NE(std::string(error.what()).find(text), std::string::npos) << error.what();
        }
    };
    expect([&] { prepare(1, 0, 16); }, "k=0");
    expect([&] { prepare(1, 5, 0); }, "d=0");
    expect([&] { prepare(0, 5, 16); }, "batch=0");
    const auto table = prepare(1, 5, 16);
    const test::Output<float> best(10);
    const test::Output<int32_t> ids(10);
    const AssignOutput output{best.get(), nullptr, ids.get()};
    const Allocated<AssignWorkspace> workspace(nullptr, [&](Arena& arena) {
        return AssignWorkspace(shape_of(problem.rows, *table, output), arena);
    });
    TensorRows rows = problem.rows;
    rows.columns = 15;
    expect([&] { find_best(rows, *table, output, *workspace, nullptr); }, "points.columns=15");
    rows = problem.rows;
    rows.batch = 2;
    expect([&] { find_best(rows, *table, output, *workspace, nullptr); }, "points.batch=2");
    rows = problem.rows;
    rows.rows = int64_t{1} << 31;
    expect([&] { find_best(rows, *table, output, *workspace, nullptr); }, "points.rows=2147483648");
    rows.rows = 11;
    expect([&] { find_best(rows, *table, output, *workspace, nullptr); }, "points.rows=11");
    expect([&] { find_best(problem.rows, *table, {}, *workspace, nullptr); }, "output.best");
    const AssignOutput both{best.get(), best.get(), ids.get()};
    expect([&] { find_best(problem.rows, *table, both, *workspace, nullptr); }, "output.second");
}

} // namespace
} // namespace faiss_flash::cuda
