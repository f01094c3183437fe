/// Small problems in one kernel: ids are those of the CPU backend, for each problem of a batch.
#include <faiss_flash/codes.h>
#include <faiss_flash/cpu/backend.h>
#include <faiss_flash/cuda/assigner.h>
#include <faiss_flash/cuda/backend.h>
#include <faiss_flash/cuda/device_info.h>
#include <faiss_flash/cuda/direct/assign.h>
#include <faiss_flash/cuda/runtime/arena.h>
#include <faiss_flash/cuda/runtime/stream.h>

#include <cuda/device_data.h>
#include <cuda/exact_data.h>

#include <support/shards.h>

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>
#include <string>
#include <tuple>
#include <utility>

namespace faiss_flash::cuda {
namespace {

using test::ExactData;
using test::Floats;

/// The first columns of a data set, at most so many.
ExactData cut(ExactData data, int64_t most) {
    const int64_t d = std::min(data.d, most);
    for (Floats* values : {&data.points, &data.centroids}) {
        Floats kept;
        for (auto row = values->begin(); row != values->end(); row += data.d) {
            kept.insert(kept.end(), row, row + d);
        }
        *values = kept;
    }
    data.d = d;
    data.dtype = DType::f32;
    return data;
}

/// A second problem of another place and size.
Floats moved(Floats values) {
    for (float& value : values) {
        value = value / 64 + 3;
    }
    return values;
}

struct Direct : testing::TestWithParam<std::tuple<test::ExactCase, int64_t>> {
    void SetUp() override {
        if (device_count() == 0) {
            GTEST_SKIP() << "no CUDA device";
        }
    }
};

TEST_P(Direct, IdsAreTheCpus) {
    const ExactData data = cut(std::get<0>(GetParam()).make(), std::get<1>(GetParam()));
    const std::vector<Floats> points{data.points, moved(data.points)};
    const std::vector<Floats> centroids{data.centroids, moved(data.centroids)};
    const auto n = static_cast<size_t>(data.n);
    const auto joined = [](const std::vector<Floats>& both) {
        Floats all = both[0];
        all.insert(all.end(), both[1].begin(), both[1].end());
        return all;
    };
    const Floats all_points = joined(points);
    const Floats all_centroids = joined(centroids);
    const auto device_points = test::to_device(all_points.data(), all_points.size() * 4);
    const auto device_centroids = test::to_device(all_centroids.data(), all_centroids.size() * 4);
    const DeviceRows rows{device_points.get(), DType::f32, 2, data.n, data.d, 4 * data.d};
    const Stream stream;
    Allocated<Scaling> scaling(
            stream.get(), [&](Arena& arena) { return Scaling(2, data.d, arena); });
    Allocated<ColumnExtremes> extremes(
            stream.get(), [&](Arena& arena) { return ColumnExtremes(2, data.d, arena); });
    extremes->find(rows, stream.get());
    scaling->find(rows, *extremes, Values::any, stream.get());
    for (const Metric metric : {Metric::l2, Metric::inner_product}) {
        SCOPED_TRACE(metric == Metric::l2 ? "l2" : "ip");
        const Allocated<DirectCentroids> table(stream.get(), [&](Arena& arena) {
            return DirectCentroids(2, data.k, data.d, metric, arena);
        });
        const test::Output<int32_t> ids(2 * n);
        const std::vector<IterationCounts> zeros(2);
        const auto counts = test::to_device(zeros.data(), 2 * sizeof(IterationCounts));
        assign_direct(
                rows,
                *scaling,
                static_cast<const float*>(device_centroids.get()),
                *table,
                ids.get(),
                static_cast<IterationCounts*>(counts.get()),
                stream.get());
        check(cudaStreamSynchronize(stream.get()), "an assignment");
        const auto got = ids.read();
        EXPECT_TRUE(ids.margin_is_untouched());
        const auto told = test::to_host<IterationCounts>(counts.get(), 2);
        for (size_t b = 0; b < 2; b++) {
            std::vector<int64_t> expected(n);
            cpu::backend().assign(
                    Points(VectorView::of(points[b].data(), data.n, data.d)),
                    centroids[b].data(),
                    data.k,
                    metric,
                    expected.data(),
                    nullptr);
            int64_t different = 0;
            for (size_t i = 0; i < n; i++) {
                different += got[b * n + i] != expected[i];
            }
            EXPECT_EQ(different, 0) << b;
            EXPECT_LE(told[b].decided, data.n) << b;
        }
    }
}

INSTANTIATE_TEST_SUITE_P(
        Data,
        Direct,
        testing::Combine(
                testing::ValuesIn(test::exact_datasets()),
                testing::Values<int64_t>(24, 32, 50, 128, kMostDirectColumns)),
        [](const auto& tested) {
            return std::get<0>(tested.param).name + "_" + std::to_string(std::get<1>(tested.param));
        });

/// Rows of all types, some of them twice and many alike, so that float64 has to decide.
TEST(DirectBatch, LongRowsOfAllTypesComeOutAsOnTheCpu) {
    if (device_count() == 0) {
        GTEST_SKIP() << "no CUDA device";
    }
    const int64_t n = 3000;
    const int64_t k = 70;
    for (const int64_t d : {33, 64, 72, 100, 128, 136, 251, 256}) {
        Floats x = test::normal(n, d, 3);
        for (size_t i = 0; i < x.size(); i++) {
            const bool repeated = i / static_cast<size_t>(d) % 7 == 0;
            x[i] = repeated ? 1.0f : std::round(2 * x[i]);
        }
        for (const DType dtype : {DType::f32, DType::f16, DType::bf16, DType::u8, DType::i8}) {
            SCOPED_TRACE(testing::Message() << "d " << d << " type " << static_cast<int>(dtype));
            const std::vector<uint8_t> rows = test::rows_of(x, dtype);
            for (const Metric metric : {Metric::l2, Metric::inner_product}) {
                KMeansInput input;
                input.points = VectorView::of(nullptr, n, d);
                input.points.data = rows.data();
                input.points.dtype = dtype;
                input.points.row_stride = static_cast<int64_t>(rows.size()) / n;
                KMeansOptions options;
                options.niter = 5;
                options.metric = metric;
                options.return_assignment = true;
                Workload workload{1, n, d, k, metric, dtype, Precision::exact, false, false};
                ASSERT_EQ(method_for(workload), Method::direct);
                options.device = "cuda";
                const KMeansResult found = kmeans(input, k, options);
                options.device = "cpu";
                const KMeansResult expected = kmeans(input, k, options);
                EXPECT_EQ(found.centroids, expected.centroids);
                EXPECT_EQ(found.assignment, expected.assignment);
                EXPECT_EQ(found.iterations.back().objective, expected.iterations.back().objective);
            }
        }
    }
}

/// Products with a mean that is large beside the rest and at right angles to it: what the mean adds
/// to scores cancels, and its roundings are all that is left. Centroids are there four times, so
/// that float64 has to decide.
TEST(DirectBatch, LongRowsOfProductsThatCancelComeOutAsOnTheCpu) {
    if (device_count() == 0) {
        GTEST_SKIP() << "no CUDA device";
    }
    const int64_t n = 20000;
    const int64_t k = 32;
    for (const auto& [d, size] : {std::pair<int64_t, float>{40, 1000}, {64, 4096}, {128, 16384}}) {
        SCOPED_TRACE(testing::Message() << "d " << d << " mean of " << size);
        Floats x = test::normal(n, d, 7);
        Floats mean = test::normal(1, d, 8, 0.8f * size, 0.1f * size);
        double square = 0;
        for (const float value : mean) {
            square += double{value} * value;
        }
        for (int64_t i = 0; i < n; i++) {
            float* row = x.data() + i * d;
            const double along = std::inner_product(row, row + d, mean.data(), 0.0) / square;
            for (int64_t j = 0; j < d; j++) {
                const auto column = static_cast<size_t>(j);
                row[j] = static_cast<float>(mean[column] + row[j] - along * mean[column]);
            }
        }
        Floats initial;
        for (int64_t c = 0; c < k; c++) {
            initial.insert(initial.end(), x.data() + c / 4 * d, x.data() + (c / 4 + 1) * d);
        }
        KMeansInput input;
        input.points = VectorView::of(x.data(), n, d);
        input.initial_centroids = VectorView::of(initial.data(), k, d);
        KMeansOptions options;
        options.niter = 3;
        options.max_points_per_centroid = -1;
        options.metric = Metric::inner_product;
        options.return_assignment = true;
        const Workload workload{
                1, n, d, k, Metric::inner_product, DType::f32, Precision::exact, false, false};
        ASSERT_EQ(method_for(workload), Method::direct);
        options.device = "cuda";
        const KMeansResult found = kmeans(input, k, options);
        options.device = "cpu";
        const KMeansResult expected = kmeans(input, k, options);
        EXPECT_EQ(found.centroids, expected.centroids);
        EXPECT_EQ(found.assignment, expected.assignment);
    }
}

/// The columns of one matrix, as a product quantizer has them; and problems that lie apart.
TEST(DirectBatch, ProblemsComeOutAsAlone) {
    if (device_count() == 0) {
        GTEST_SKIP() << "no CUDA device";
    }
    const int64_t n = 6000;
    const int64_t k = 100;
    const int64_t d = 6;
    const int64_t batch = 5;
    Floats x = test::normal(n, batch * d, 12);
    for (size_t i = 0; i < x.size(); i++) { // of different sizes and places
        const auto problem = static_cast<int>(i / static_cast<size_t>(d) % 5);
        x[i] = std::ldexp(x[i], 5 * problem) + static_cast<float>(problem);
    }
    KMeansOptions options;
    options.niter = 6;
    options.return_assignment = true;
    std::vector<KMeansInput> slices, apart;
    std::vector<Floats> copies;
    for (int64_t b = 0; b < batch; b++) {
        KMeansInput slice;
        slice.points = VectorView::of(x.data() + b * d, n, d);
        slice.points.row_stride = 4 * batch * d;
        slices.push_back(slice);
        Floats copy;
        for (int64_t i = 0; i < n; i++) {
            const auto* row = x.data() + (i * batch + b) * d;
            copy.insert(copy.end(), row, row + d);
        }
        copies.push_back(copy);
    }
    for (const Floats& copy : copies) {
        KMeansInput input;
        input.points = VectorView::of(copy.data(), n, d);
        apart.push_back(input);
    }
    const Workload workload{batch, n, d, k, Metric::l2, DType::f32, Precision::exact, false, false};
    ASSERT_EQ(method_for(workload), Method::direct);
    options.device = "cuda";
    const auto together = batch_kmeans(slices, k, options);
    const auto apart_results = batch_kmeans(apart, k, options);
    options.device = "cpu";
    for (size_t b = 0; b < slices.size(); b++) {
        SCOPED_TRACE(b);
        const auto alone = kmeans(slices[b], k, options);
        EXPECT_EQ(together[b].centroids, alone.centroids);
        EXPECT_EQ(apart_results[b].centroids, alone.centroids);
        EXPECT_EQ(together[b].assignment, alone.assignment);
        EXPECT_EQ(together[b].distances, alone.distances);
        ASSERT_EQ(together[b].iterations.size(), alone.iterations.size());
        for (size_t i = 0; i < alone.iterations.size(); i++) {
            const double objective = alone.iterations[i].objective;
            EXPECT_EQ(together[b].iterations[i].objective, objective) << i;
        }
    }
}

TEST(DirectBatch, CodesAreTheCpus) {
    if (device_count() == 0) {
        GTEST_SKIP() << "no CUDA device";
    }
    const int64_t n = 70000;
    const int64_t parts = 16;
    const int64_t entries = 256;
    const int64_t dsub = 4;
    ASSERT_TRUE(direct_pays(parts, 65536, entries, dsub));
    Floats x = test::normal(n, parts * dsub, 5);
    const Floats books = test::normal(parts * entries, dsub, 6);
    const VectorView rows = VectorView::of(x.data(), n, parts * dsub);
    const Codebooks codebooks{books.data(), parts, entries, dsub};
    const auto codes_on = [&](const char* device) {
        std::vector<uint8_t> codes(static_cast<size_t>(n * parts));
        encode(rows, {}, codebooks, codes.data(), parts, device);
        return codes;
    };
    EXPECT_EQ(codes_on("cuda"), codes_on("cpu"));

    x[69000 * parts * dsub + 17] = NAN;
    EXPECT_THROW(codes_on("cuda"), InvalidArgument);
}

} // namespace
} // namespace faiss_flash::cuda
