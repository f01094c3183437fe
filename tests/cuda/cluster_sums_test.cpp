/// Sums, means and what is told of them on the device against exact ones, over runs that move some
/// of the points.
#include <faiss_flash/core/objective.h>
#include <faiss_flash/cpu/cluster_sums.h>
#include <faiss_flash/cuda/device_info.h>
#include <faiss_flash/cuda/extremes.h>
#include <faiss_flash/cuda/update/cluster_sums.h>
#include <faiss_flash/cuda/update/finish.h>
#include <faiss_flash/cuda/update/row_facts.h>
#include <faiss_flash/cuda/update/row_sums.h>

#include <cuda/device_data.h>
#include <support/data.h>

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>

namespace faiss_flash::cuda {
namespace {

using test::Floats;

struct Case {
    const char* name;
    DType dtype;
    int64_t batch, n, k, d;
    bool weighted = false;
    float outlier = 0;
};

void PrintTo(const Case& tested, std::ostream* out) {
    *out << tested.name;
}

struct Means {
    std::vector<int64_t> sizes;
    std::vector<double> weights, gains;
    Floats means, next;
    std::vector<ClusterStats> stats;
};

/// Rows on the device, and their values.
struct Rows {
    Case shape;
    Floats values, weights;
    test::DevicePointer data, device_weights;

    explicit Rows(const Case& tested) : shape(tested) {
        values = test::normal(shape.batch * shape.n, shape.d, 3, 1, 2);
        values[static_cast<size_t>(shape.d)] += shape.outlier;
        if (shape.dtype == DType::f32) {
            data = test::to_device(values.data(), values.size() * 4);
        } else if (dtype_size(shape.dtype) == 1) {
            const float lowest = shape.dtype == DType::i8 ? -128.0f : 0.0f;
            std::vector<uint8_t> raw(values.size());
            for (size_t i = 0; i < values.size(); i++) {
                values[i] = std::clamp(std::round(50 * values[i]), lowest, lowest + 255);
                raw[i] = static_cast<uint8_t>(static_cast<int>(values[i]));
            }
            data = test::to_device(raw.data(), raw.size());
        } else {
            const bool bf16 = shape.dtype == DType::bf16;
            std::vector<uint16_t> raw(values.size());
            for (size_t i = 0; i < values.size(); i++) {
                raw[i] = test::bits(values[i], bf16);
                values[i] = test::rounded(values[i], bf16);
            }
            data = test::to_device(raw.data(), raw.size() * 2);
        }
        if (shape.weighted) {
            weights = test::normal(shape.n, 1, 4, 2, 0.5);
            device_weights = test::to_device(weights.data(), weights.size() * 4);
        }
    }
    DeviceRows on_device() const {
        const int64_t row_bytes = dtype_size(shape.dtype) * shape.d;
        return {data.get(), shape.dtype, shape.batch, shape.n, shape.d, row_bytes};
    }
    const float* weights_on_device() const { return static_cast<float*>(device_weights.get()); }
    /// On the host, as float32.
    Points of_problem(int64_t b) const {
        const float* first = values.data() + b * shape.n * shape.d;
        return Points(VectorView::of(first, shape.n, shape.d));
    }
};

constexpr int64_t kFrozen = 1;
constexpr float kCentroid = 1.25f; ///< all coordinates of those that an update starts from

/// Everything of an update that is made once.
struct Update {
    Workload workload;
    Format agreed;
    Allocated<SumFormat> format;
    Allocated<ClusterSums> sums;
    test::DevicePointer finished; ///< [batch] zeros between runs

    explicit Update(const Rows& rows, Metric metric = Metric::inner_product)
        : workload(workload_of(rows.shape, metric)),
          agreed(Format::plan(facts_of(rows), workload)),
          format(nullptr,
                 [&](Arena& arena) {
                     return SumFormat(agreed, workload, rows.shape.dtype, arena);
                 }),
          sums(nullptr, [&](Arena& arena) {
              return ClusterSums(
                      rows.on_device(), rows.shape.n, rows.weights_on_device(), *format, arena);
          }) {
        const std::vector<uint32_t> zeros(static_cast<size_t>(rows.shape.batch));
        finished = test::to_device(zeros.data(), zeros.size() * sizeof(uint32_t));
        format->load(agreed, nullptr);
        sums->start(nullptr);
    }
    static RowFacts facts_of(const Rows& rows) {
        if (rows.weights_on_device()) {
            return find_weighted_ranges(rows.on_device(), rows.weights_on_device(), nullptr);
        }
        Allocated<ColumnExtremes> extremes(nullptr, [&](Arena& arena) {
            return ColumnExtremes(rows.shape.batch, rows.shape.d, arena);
        });
        extremes->find(rows.on_device(), nullptr);
        return extremes->facts(nullptr);
    }
    static Workload workload_of(const Case& shape, Metric metric) {
        return {shape.batch,
                shape.n,
                shape.d,
                shape.k,
                metric,
                shape.dtype,
                Precision::exact,
                shape.weighted,
                false};
    }
};

std::vector<double> high_parts(const std::vector<DoubleDouble>& gains) {
    std::vector<double> rounded;
    rounded.reserve(gains.size());
    for (const DoubleDouble& gain : gains) {
        rounded.push_back(gain.high);
    }
    return rounded;
}

/// What the host is told, and the next centroids, follow from the clusters.
void expect_told(
        const Means& got,
        const std::vector<DoubleDouble>& gains,
        uint64_t assigned,
        const Case& shape) {
    const auto k = static_cast<size_t>(shape.k);
    const auto values = static_cast<size_t>(shape.k * shape.d);
    const auto frozen = static_cast<size_t>(kFrozen * shape.d);
    for (size_t b = 0; b < got.stats.size(); b++) {
        double squares = 0;
        int64_t empty = 0;
        for (size_t c = 0; c < k; c++) {
            const auto size = static_cast<double>(got.sizes[b * k + c]);
            squares += size * size;
            empty += c >= static_cast<size_t>(kFrozen) && got.weights[b * k + c] == 0 ? 1 : 0;
        }
        EXPECT_EQ(got.stats[b].squares, squares) << b;
        EXPECT_EQ(got.stats[b].empty, empty) << b;
        const DoubleDouble sum = sum_of_clusters(gains.data() + b * k, shape.k);
        EXPECT_EQ(got.stats[b].objective, objective_of(false, {}, sum)) << b;
        EXPECT_EQ(got.stats[b].assigned, assigned) << b;
        EXPECT_GT(got.stats[b].ended, assigned) << b;
        Floats expected(got.means.data() + b * values, got.means.data() + (b + 1) * values);
        std::fill_n(expected.begin(), frozen, kCentroid);
        const float* next = got.next.data() + b * values;
        EXPECT_EQ(Floats(next, next + values), expected) << b;
    }
}

/// invalid: points whose ids are no centroid's, of the first problem.
Means run(Update& update, const Rows& rows, const std::vector<int32_t>& ids, int64_t invalid = 0) {
    const auto clusters = static_cast<size_t>(rows.shape.batch * rows.shape.k);
    const test::Output<int64_t> sizes(clusters);
    const test::Output<double> weights(clusters);
    const test::Output<DoubleDouble> gains(clusters);
    const test::Output<float> means(clusters * static_cast<size_t>(rows.shape.d));
    const test::Output<float> next(clusters * static_cast<size_t>(rows.shape.d));
    const auto batch = static_cast<size_t>(rows.shape.batch);
    const test::Output<ClusterStats> stats(batch);
    const test::Output<uint64_t> assigned(1);
    const auto device_ids = test::to_device(ids.data(), ids.size() * 4);
    const Floats before(clusters * static_cast<size_t>(rows.shape.d), kCentroid);
    const auto centroids = test::to_device(before.data(), before.size() * 4);
    IterationArrays arrays{};
    arrays.centroids = static_cast<float*>(centroids.get());
    arrays.next = next.get();
    arrays.means = means.get();
    arrays.sizes = sizes.get();
    arrays.weights = weights.get();
    arrays.gains = gains.get();
    arrays.assigned = assigned.get();
    arrays.finished = static_cast<uint32_t*>(update.finished.get());
    CentroidRules rules;
    rules.frozen = kFrozen;
    write_time(assigned.get(), nullptr);
    const Sums sums = update.sums->run(
            {0, rows.shape.n}, static_cast<const int32_t*>(device_ids.get()), nullptr);
    finish_iteration(sums, *update.format, arrays, rules, stats.get(), nullptr);
    check(cudaDeviceSynchronize(), "an update");
    const Means got{
            sizes.read(),
            weights.read(),
            high_parts(gains.read()),
            means.read(),
            next.read(),
            stats.read()};
    EXPECT_EQ(got.stats[0].counts.invalid, invalid);
    EXPECT_EQ(test::to_host<IterationCounts>(update.sums->counts(), 1)[0].invalid, 0);
    for (const uint32_t blocks : test::to_host<uint32_t>(arrays.finished, batch)) {
        EXPECT_EQ(blocks, 0u);
    }
    EXPECT_TRUE(sizes.margin_is_untouched() && weights.margin_is_untouched());
    EXPECT_TRUE(means.margin_is_untouched() && gains.margin_is_untouched());
    EXPECT_TRUE(next.margin_is_untouched() && stats.margin_is_untouched());
    expect_told(got, gains.read(), assigned.read()[0], rows.shape);
    return got;
}

void expect_exact(const Means& got, const Rows& rows, const std::vector<int32_t>& ids) {
    const Case& shape = rows.shape;
    const auto d = static_cast<size_t>(shape.d);
    const auto clusters = static_cast<size_t>(shape.batch * shape.k);
    std::vector<__float128> sums(clusters * d, 0), totals(clusters, 0);
    std::vector<int64_t> sizes(clusters, 0);
    for (size_t i = 0; i < ids.size(); i++) {
        const auto problem = i / static_cast<size_t>(shape.n);
        const size_t cluster = problem * static_cast<size_t>(shape.k) + static_cast<size_t>(ids[i]);
        const __float128 weight = shape.weighted ? rows.weights[i] : 1.0f;
        sizes[cluster]++;
        totals[cluster] += weight;
        for (size_t j = 0; j < d; j++) {
            sums[cluster * d + j] += weight * rows.values[i * d + j];
        }
    }
    ASSERT_EQ(got.sizes, sizes);
    for (size_t c = 0; c < clusters; c++) {
        ASSERT_NEAR(got.weights[c], static_cast<double>(totals[c]), 1e-12 * got.weights[c]);
        __float128 gain = 0;
        for (size_t j = 0; j < d; j++) {
            const auto mean = totals[c] != 0 ? static_cast<float>(sums[c * d + j] / totals[c]) : 0;
            const float got_mean = got.means[c * d + j];
            ASSERT_LE(std::abs(got_mean - mean), 1.2e-7f * std::abs(mean)) << c << " " << j;
            gain += kCentroid * sums[c * d + j];
        }
        ASSERT_NEAR(
                got.gains[c],
                static_cast<double>(gain),
                1e-14 * (std::abs(static_cast<double>(gain)) + 1));
    }
}

std::vector<int32_t> random_ids(const Case& shape, unsigned seed) {
    std::mt19937 generator(seed);
    std::vector<int32_t> ids(static_cast<size_t>(shape.batch * shape.n));
    for (int32_t& id : ids) { // a third of all in the last cluster
        const auto any = static_cast<int32_t>(generator() % static_cast<unsigned>(shape.k));
        id = generator() % 3 == 0 ? static_cast<int32_t>(shape.k - 1) : any;
    }
    return ids;
}

struct UpdateOnDevice : testing::TestWithParam<Case> {
    void SetUp() override {
        if (device_count() == 0) {
            GTEST_SKIP() << "no CUDA device";
        }
    }
};

/// Moving none, few, many or all points comes to the same bits as starting anew.
TEST_P(UpdateOnDevice, IsExactAfterAnyMoves) {
    const Rows rows(GetParam());
    Update update(rows);
    std::vector<int32_t> ids = random_ids(rows.shape, 1);
    std::mt19937 generator(9);
    for (const unsigned one_in : {0u, 0u, 50u, 3u, 1u, 1000u}) {
        const auto others = random_ids(rows.shape, static_cast<unsigned>(generator()));
        for (size_t i = 0; i < ids.size() && one_in > 0; i++) {
            ids[i] = generator() % one_in == 0 ? others[i] : ids[i];
        }
        SCOPED_TRACE(one_in);
        const Means got = run(update, rows, ids);
        expect_exact(got, rows, ids);
        Update fresh(rows);
        const Means anew = run(fresh, rows, ids);
        EXPECT_EQ(got.sizes, anew.sizes);
        EXPECT_EQ(got.weights, anew.weights);
        EXPECT_EQ(got.means, anew.means);
        EXPECT_EQ(got.gains, anew.gains);
        EXPECT_EQ(got.next, anew.next);
        if (HasFatalFailure()) {
            return;
        }
    }
}

/// Not only the means, but the integers that they come from: other shards' may be the CPU's.
TEST_P(UpdateOnDevice, HasTheIntegersOfTheCpu) {
    const Rows rows(GetParam());
    Update update(rows);
    const Case& shape = rows.shape;
    const auto ids = random_ids(shape, 5);
    const auto device_ids = test::to_device(ids.data(), ids.size() * 4);
    const Sums sums = update.sums->run(
            {0, rows.shape.n}, static_cast<const int32_t*>(device_ids.get()), nullptr);
    const SumFormat& format = *update.format;
    const auto got = test::to_host<int64_t>(sums.data, static_cast<size_t>(format.sums.counts()));
    const int64_t columns = shape.d + 1;
    std::vector<int64_t> expected(static_cast<size_t>(shape.k * format.limbs * columns));
    std::vector<int64_t> sizes(static_cast<size_t>(shape.k));
    const int64_t compared = shape.weighted ? columns : shape.d;
    for (int64_t b = 0; b < shape.batch; b++) {
        const Points points = rows.of_problem(b);
        cpu::ClusterSums on_cpu(points, shape.weighted ? rows.weights.data() : nullptr);
        const FixedPoint& integers = update.agreed.columns[static_cast<size_t>(b)];
        on_cpu.start(integers, shape.k, format.limbs * columns, expected.data(), sizes.data());
        const auto first_id = ids.begin() + b * shape.n;
        on_cpu.run(std::vector<int32_t>(first_id, first_id + shape.n), 0, shape.n);
        const auto got_sizes = got.begin() + format.sums.sizes() + b * shape.k;
        ASSERT_TRUE(std::equal(sizes.begin(), sizes.end(), got_sizes)) << b;
        for (int64_t row = 0; row < shape.k * format.limbs; row++) {
            const int64_t* got_row =
                    got.data() + (b * shape.k * format.limbs + row) * format.layout.places;
            for (int64_t column = 0; column < compared; column++) {
                const int place = column < shape.d ? format.layout.place(static_cast<int>(column))
                                                   : format.layout.places - 1;
                ASSERT_EQ(got_row[place], expected[static_cast<size_t>(row * columns + column)])
                        << "problem " << b << " limb of a cluster " << row << " column " << column;
            }
        }
    }
}

TEST_P(UpdateOnDevice, HasTheSquaresOfTheCpu) {
    const Rows rows(GetParam());
    const Case& shape = rows.shape;
    if (shape.weighted) {
        GTEST_SKIP() << "weighted rows have no squares";
    }
    Update update(rows, Metric::l2);
    const Sums squares = update.sums->squares();
    const test::Output<DoubleDouble> totals(static_cast<size_t>(shape.batch));
    total_squares(*update.format, squares.data, totals.get(), nullptr);
    const auto got = test::to_host<int64_t>(squares.data, static_cast<size_t>(squares.count));
    const auto got_totals = totals.read();
    EXPECT_TRUE(totals.margin_is_untouched());
    const int64_t of_problem = update.format->square_limbs * shape.d;
    for (int64_t b = 0; b < shape.batch; b++) {
        const Points points = rows.of_problem(b);
        const FixedPoint& format = update.agreed.squares[static_cast<size_t>(b)];
        std::vector<int64_t> expected(static_cast<size_t>(of_problem));
        cpu::ClusterSums(points, nullptr).add_squares(format, expected.data());
        ASSERT_TRUE(std::equal(expected.begin(), expected.end(), got.begin() + b * of_problem))
                << b;
        const DoubleDouble total = sum_of_columns(format, expected.data(), shape.d);
        EXPECT_EQ(got_totals[static_cast<size_t>(b)].high, total.high) << b;
        EXPECT_EQ(got_totals[static_cast<size_t>(b)].low, total.low) << b;
    }
}

/// Shapes below are of the way that they are named for.
TEST_P(UpdateOnDevice, AddsFewRowsWithoutSorting) {
    const Case& shape = GetParam();
    const DeviceRows rows{nullptr, shape.dtype, shape.batch, shape.n, shape.d, 0};
    EXPECT_EQ(are_few(rows, shape.k), std::string(shape.name).rfind("few", 0) == 0);
}

/// Ids that are none are counted, and index nothing.
TEST_P(UpdateOnDevice, CountsInvalidIds) {
    const Rows rows(GetParam());
    Update update(rows);
    std::vector<int32_t> ids = random_ids(rows.shape, 1);
    run(update, rows, ids);
    const auto k = static_cast<int32_t>(rows.shape.k);
    for (const int32_t none : {-1, k, 0x7FFFFFFF, std::numeric_limits<int32_t>::min()}) {
        std::vector<int32_t> spoilt = ids;
        for (size_t i = 0; i < 30; i++) {
            spoilt[i * static_cast<size_t>(rows.shape.n / 30)] = none;
        }
        run(update, rows, spoilt, 30);
    }
    std::vector<int32_t> none(ids.size(), 0x7FFFFFFF); // all of every problem
    run(update, rows, none, rows.shape.n);
}

INSTANTIATE_TEST_SUITE_P(
        Shapes,
        UpdateOnDevice,
        testing::Values(
                Case{"f32", DType::f32, 1, 50021, 300, 128},
                Case{"f16", DType::f16, 1, 50021, 300, 128},
                Case{"bf16", DType::bf16, 1, 50021, 300, 128},
                Case{"few", DType::f32, 1, 4096, 64, 128},
                Case{"few_f16", DType::f16, 3, 4001, 70, 64},
                Case{"few_u8", DType::u8, 2, 4001, 70, 40},
                Case{"few_i8", DType::i8, 1, 16384, 256, 24},
                Case{"few_odd_rows", DType::bf16, 2, 4002, 70, 33},
                Case{"few_odd_rows_f32", DType::f32, 1, 4003, 8, 7},
                Case{"few_odd_rows_i8", DType::i8, 3, 1001, 70, 13},
                Case{"few_of_one_column", DType::f16, 1, 3001, 19, 1},
                Case{"few_of_many_columns", DType::f16, 1, 3001, 50, 776},
                Case{"few_of_one_cluster", DType::f32, 2, 509, 1, 20},
                Case{"few_of_many_problems", DType::f32, 150, 301, 16, 8},
                Case{"few_outlier", DType::f32, 1, 3001, 40, 12, false, 1e15f},
                Case{"few_far_outlier", DType::f32, 1, 3001, 40, 13, false, 1e37f},
                Case{"few_weighted", DType::f32, 1, 3001, 40, 12, true},
                Case{"few_weighted_outlier", DType::f32, 1, 3001, 40, 140, true, 1e15f},
                Case{"few_weighted_odd_rows", DType::f16, 1, 3002, 40, 13, true},
                Case{"one_block", DType::f16, 5, 16001, 70, 64},
                Case{"one_block_weighted", DType::f32, 1, 16001, 20, 12, true},
                Case{"one_block_f32", DType::f32, 1, 16384, 1, 20},
                Case{"bytes", DType::u8, 2, 20011, 130, 24},
                Case{"signed_bytes", DType::i8, 1, 20011, 130, 13},
                Case{"batch", DType::f16, 5, 20011, 130, 24},
                Case{"odd_rows", DType::f16, 2, 20011, 130, 33},
                Case{"odd_rows_f32", DType::f32, 1, 20011, 130, 7},
                Case{"few_some_empty", DType::f32, 2, 4001, 4500, 5},
                Case{"one_column", DType::bf16, 1, 30011, 19, 1},
                Case{"many_columns", DType::f16, 1, 17003, 50, 776},
                Case{"many_clusters", DType::f16, 1, 70001, 9001, 16},
                Case{"more_clusters_than_chunks_hold", DType::f32, 2, 30011, 8192, 8},
                Case{"outlier", DType::f32, 1, 20011, 40, 12, false, 1e15f},
                Case{"far_outlier", DType::f32, 1, 20011, 40, 12, false, 1e37f},
                Case{"weighted", DType::f32, 1, 20011, 40, 12, true},
                Case{"weighted_odd_rows", DType::f16, 1, 20011, 40, 133, true}),
        [](const auto& tested) { return std::string(tested.param.name); });

} // namespace
} // namespace faiss_flash::cuda
