/// The certificate: ids are those of the CPU backend, which are the float64 argmin, on data made to
/// come near its bounds; with lists of candidates and without.
#include <faiss_flash/cpu/backend.h>
#include <faiss_flash/cuda/device_info.h>
#include <faiss_flash/cuda/exact/assign.h>
#include <faiss_flash/cuda/rows.h>
#include <faiss_flash/cuda/runtime/arena.h>
#include <faiss_flash/cuda/runtime/stream.h>

#include <cuda/device_data.h>
#include <cuda/exact_data.h>

#include <gtest/gtest.h>

#include <cmath>
#include <optional>

namespace faiss_flash::cuda {
namespace {

using Data = test::ExactData;

struct Exact : testing::TestWithParam<test::ExactCase> {
    void SetUp() override {
        if (device_count() == 0) {
            GTEST_SKIP() << "no CUDA device";
        }
    }
};

/// The rows in their own type, and how the engine sees them.
struct TypedRows {
    std::vector<uint8_t> bytes;
    VectorView view;

    explicit TypedRows(const Data& data) {
        const auto put = [&](const void* value, size_t size) {
            const auto* from = static_cast<const uint8_t*>(value);
            bytes.insert(bytes.end(), from, from + size);
        };
        for (const float value : data.points) {
            const uint16_t half = test::bits(value, data.dtype == DType::bf16);
            const float limited = std::round(
                    data.dtype == DType::u8 ? std::max(0.0f, std::min(255.0f, value))
                                            : std::max(-128.0f, std::min(127.0f, value)));
            const auto u8 = static_cast<uint8_t>(data.dtype == DType::u8 ? limited : 0);
            const auto i8 = static_cast<int8_t>(data.dtype == DType::i8 ? limited : 0);
            switch (data.dtype) {
                case DType::f32:
                    put(&value, 4);
                    break;
                case DType::f16:
                case DType::bf16:
                    put(&half, 2);
                    break;
                case DType::u8:
                    put(&u8, 1);
                    break;
                case DType::i8:
                    put(&i8, 1);
                    break;
            }
        }
        view.data = bytes.data();
        view.n = data.n;
        view.d = data.d;
        view.dtype = data.dtype;
    }
};

/// Points on the device in their own type, ready to be assigned.
struct LoadedPoints {
    LoadedPoints(const Points& from, const Stream& stream)
        : workload(workload_of(from.view(), false, 1, from.n(), 1, {})),
          rows(stream.get(), [&](Arena& arena) { return LoadedRows(workload, false, arena); }),
          extremes(stream.get(), [&](Arena& arena) { return ColumnExtremes(1, from.d(), arena); }),
          points(stream.get(),
                 [&](Arena& arena) { return DevicePoints(from.n(), from.d(), arena); }) {
        rows->load({{from}}, stream.get());
        extremes->find(rows->get(), stream.get());
        points->prepare(rows->get(), *extremes, values_of(from), stream.get());
    }

    Workload workload;
    Allocated<LoadedRows> rows;
    Allocated<ColumnExtremes> extremes;
    Allocated<DevicePoints> points;
};

/// room: points that the workspace is made for, of which all or fewer are there.
IterationCounts assign_and_count(
        const DevicePoints& points,
        const Data& data,
        Metric metric,
        int64_t room,
        int32_t* ids,
        double* values,
        std::optional<int64_t> expected,
        const Stream& stream) {
    const auto centroids = test::to_device(data.centroids.data(), data.centroids.size() * 4);
    const IterationCounts zero{};
    const auto counts = test::to_device(&zero, sizeof zero);
    Allocated<ExactWorkspace> workspace(stream.get(), [&](Arena& arena) {
        return ExactWorkspace(room, data.d, data.k, metric, arena);
    });
    assign_exact(
            points,
            static_cast<const float*>(centroids.get()),
            *workspace,
            {ids, values, static_cast<IterationCounts*>(counts.get())},
            expected,
            stream.get());
    check(cudaStreamSynchronize(stream.get()), "an assignment");
    return test::to_host<IterationCounts>(counts.get(), 1)[0];
}

TEST_P(Exact, IdsAreTheCpus) {
    const Data data = GetParam().make();
    const TypedRows typed(data);
    const Points points(typed.view);
    const auto n = static_cast<size_t>(data.n);
    const Stream stream;
    const LoadedPoints on_device(points, stream);
    for (const Metric metric : {Metric::l2, Metric::inner_product}) {
        std::vector<int64_t> expected(n);
        test::Floats distances(n);
        cpu::backend().assign(
                points, data.centroids.data(), data.k, metric, expected.data(), distances.data());
        for (const bool lists : {true, false}) {
            const std::optional<int64_t> expected_open =
                    lists ? std::nullopt : std::make_optional<int64_t>(0);
            SCOPED_TRACE(
                    std::string(metric == Metric::l2 ? "l2" : "ip") +
                    (lists ? " lists" : " no lists"));
            const test::Output<int32_t> ids(n);
            const test::Output<double> values(n);
            const IterationCounts told = assign_and_count(
                    *on_device.points,
                    data,
                    metric,
                    metric == Metric::l2 ? data.n : 3 * data.n,
                    ids.get(),
                    values.get(),
                    expected_open,
                    stream);
            const auto got = ids.read();
            const auto got_values = values.read();
            int64_t different = 0;
            for (size_t i = 0; i < n; i++) {
                different += got[i] != expected[i];
                EXPECT_EQ(static_cast<float>(got_values[i]), distances[i]) << i;
            }
            EXPECT_EQ(different, 0);
            EXPECT_TRUE(ids.margin_is_untouched() && values.margin_is_untouched());
            EXPECT_LE(told.decided, told.redone);
            EXPECT_LE(told.redone, data.n);
            if (!lists) {
                EXPECT_EQ(told.decided, told.redone);
            }
            if (data.name.rfind("equal_copies", 0) == 0) {
                EXPECT_LT(told.redone, data.n / 2) << "equal centroids are no ties";
            }
        }
    }
}

/// Nothing is rounded where values have 16 bits before: about half as many rows are open.
TEST(ExactHalves, StayAsTheyAre) {
    if (device_count() == 0) {
        GTEST_SKIP() << "no CUDA device";
    }
    constexpr int64_t kN = 50000;
    constexpr int64_t kK = 1000;
    constexpr int64_t kD = 64;
    for (const DType dtype : {DType::f16, DType::bf16}) {
        Data data{"", kN, kK, kD, test::normal(kN, kD, 1, 0.1f), test::normal(kK, kD, 2)};
        for (float& value : data.points) {
            value = test::rounded(value, dtype == DType::bf16);
        }
        int64_t redone[2]; // as f32, in 16 bits
        for (const bool half : {false, true}) {
            data.dtype = half ? dtype : DType::f32;
            const TypedRows typed(data);
            const Stream stream;
            const LoadedPoints loaded(Points(typed.view), stream);
            const test::Output<int32_t> ids(kN);
            redone[half] =
                    assign_and_count(
                            *loaded.points, data, Metric::l2, kN, ids.get(), nullptr, {}, stream)
                            .redone;
        }
        EXPECT_GT(redone[1], 0);
        EXPECT_LT(4 * redone[1], 3 * redone[0]);
    }
}

/// A pass more for more open rows, and none that nothing was expected of.
TEST(ExactPasses, AreCounted) {
    if (device_count() == 0) {
        GTEST_SKIP() << "no CUDA device";
    }
    constexpr int64_t kN = 1 << 20;
    Arena arena;
    const ExactWorkspace workspace(kN, 128, 1000, Metric::l2, arena);
    const int64_t capacity = workspace.candidates.capacity;
    EXPECT_LT(capacity, kN / 4);
    EXPECT_EQ(listing_passes(workspace, kN, 0), 0);
    EXPECT_EQ(listing_passes(workspace, kN, 1), 1);
    EXPECT_EQ(listing_passes(workspace, kN, capacity), 1);
    EXPECT_EQ(listing_passes(workspace, kN, capacity + 1), 2);
    EXPECT_EQ(listing_passes(workspace, capacity, kN), 1);
}

INSTANTIATE_TEST_SUITE_P(
        Data, Exact, testing::ValuesIn(test::exact_datasets()), [](const auto& tested) {
            return tested.param.name;
        });

} // namespace
} // namespace faiss_flash::cuda
