/// The certificate: ids are those of the CPU backend, which are the float64 argmin, on data made to
/// come near its bounds; by the two passes and by the second alone.
#include <faiss_flash/cpu/backend.h>
#include <faiss_flash/cuda/device_info.h>
#include <faiss_flash/cuda/exact/assign.h>
#include <faiss_flash/cuda/runtime/stream.h>

#include <cuda/device_data.h>
#include <support/data.h>

#include <gtest/gtest.h>

#include <cmath>
#include <functional>

namespace faiss_flash::cuda {
namespace {

using test::Floats;

struct Data {
    std::string name;
    int64_t n, k, d;
    Floats points, centroids;
    DType dtype = DType::f32;
};

void PrintTo(const Data& data, std::ostream* out) {
    *out << data.name;
}

/// Every 7th point is one of the centroids, moved a little.
Data near_centroids(const std::string& name, int64_t n, int64_t k, int64_t d, float spread) {
    Data data{name, n, k, d, test::normal(n, d, 1), test::normal(k, d, 2)};
    const Floats moves = test::normal(n, d, 3, 0, spread);
    for (int64_t i = 0; i < n; i += 7) {
        for (int64_t j = 0; j < d; j++) {
            const auto at = static_cast<size_t>(i * d + j);
            data.points[at] = data.centroids[static_cast<size_t>(i % k * d + j)] + moves[at];
        }
    }
    return data;
}

Data scaled(Data data, const std::string& name, double offset, double factor) {
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
Data near_ties(const std::string& name, int64_t d, double offset) {
    const int64_t n = 3000;
    const int64_t k = 64;
    Data data{name, n, k, d, Floats(static_cast<size_t>(n * d)), test::normal(k, d, 5)};
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

Data with_type(Data data, const std::string& name, DType dtype, double mean, double spread) {
    data = scaled(data, name, mean, spread);
    data.dtype = dtype;
    return data;
}

std::vector<Data> datasets() {
    std::vector<Data> all;
    for (const int64_t d :
         {1, 2, 3, 4, 7, 8, 15, 16, 17, 31, 32, 33, 64, 100, 128, 257, 768, 2048}) {
        const int64_t n = d > 256 ? 1200 : 4000;
        all.push_back(near_centroids("columns" + std::to_string(d), n, 150, d, 0.3f));
    }
    const Data plain = near_centroids("plain", 4000, 300, 48, 0.3f);
    all.push_back(near_centroids("many_centroids", 3000, 2500, 24, 0.3f));
    all.push_back(scaled(plain, "offset", 1e4, 1e-2));
    all.push_back(scaled(plain, "large", 0, 1e30));
    all.push_back(scaled(plain, "large_squares", 0, 1e18));
    all.push_back(scaled(plain, "small", 0, 1e-30));
    all.push_back(scaled(plain, "subnormal", 0, 1e-40));
    all.push_back(scaled(plain, "tight", 1, 1e-5));
    Data dominated = scaled(plain, "one_column_dominates", 0, 1);
    for (Floats* values : {&dominated.points, &dominated.centroids}) {
        for (size_t i = 5; i < values->size(); i += 48) {
            (*values)[i] *= 1e6f;
        }
    }
    all.push_back(dominated);
    Data outlier = scaled(plain, "one_outlier", 0, 1);
    outlier.points[48 * 11 + 3] = 1e20f;
    all.push_back(outlier);
    Data duplicates = scaled(plain, "duplicates", 0, 1);
    for (size_t c = 150; c < 300; c++) {
        std::copy_n(
                duplicates.centroids.begin() + (c - 150) * 48,
                48,
                duplicates.centroids.begin() + c * 48);
    }
    all.push_back(duplicates);
    Data constant = scaled(plain, "constant", 3, 0);
    all.push_back(constant);
    Data clustered{"clustered", 6000, 200, 40, test::mixture(6000, 40, 200, 8, 1e-3f), {}};
    clustered.centroids.assign(clustered.points.begin(), clustered.points.begin() + 200 * 40);
    all.push_back(clustered);
    Data integers{"integers", 6000, 256, 128, test::descriptors(6000, 128, 9), {}};
    integers.centroids = test::normal(256, 128, 10, 24, 30);
    integers.dtype = DType::u8;
    all.push_back(integers);
    all.push_back(with_type(plain, "i8", DType::i8, 3, 30));
    all.push_back(with_type(plain, "f16", DType::f16, 0, 1));
    all.push_back(with_type(plain, "bf16", DType::bf16, 0.5, 1));
    for (const int64_t d : {5, 32, 128, 400}) {
        all.push_back(near_ties("near_ties" + std::to_string(d), d, 0));
        all.push_back(near_ties("near_ties_offset" + std::to_string(d), d, 1000));
    }
    return all;
}

struct Exact : testing::TestWithParam<Data> {
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

TEST_P(Exact, IdsAreTheCpus) {
    const Data& data = GetParam();
    const TypedRows typed(data);
    const Points points(typed.view);
    const auto n = static_cast<size_t>(data.n);
    const Stream stream;
    const DevicePoints on_device(points, 0, data.n, stream.get());
    const auto centroids = test::to_device(data.centroids.data(), data.centroids.size() * 4);
    for (const Metric metric : {Metric::l2, Metric::inner_product}) {
        std::vector<int64_t> expected(n);
        Floats distances(n);
        cpu::backend().assign(
                points, data.centroids.data(), data.k, metric, expected.data(), distances.data());
        for (const bool split_all : {false, true}) {
            SCOPED_TRACE(
                    std::string(metric == Metric::l2 ? "l2" : "ip") +
                    (split_all ? " second pass" : " both passes"));
            const test::Output<int32_t> ids(n);
            const test::Output<double> values(n);
            const AssignCounts zero{};
            const auto counts = test::to_device(&zero, sizeof zero);
            assign_exact(
                    on_device,
                    static_cast<const float*>(centroids.get()),
                    data.k,
                    metric,
                    {ids.get(), values.get(), static_cast<AssignCounts*>(counts.get())},
                    split_all,
                    stream.get());
            check(cudaStreamSynchronize(stream.get()), "an assignment");
            const auto got = ids.read();
            const auto got_values = values.read();
            int64_t different = 0;
            for (size_t i = 0; i < n; i++) {
                different += got[i] != expected[i];
                EXPECT_EQ(static_cast<float>(got_values[i]), distances[i]) << i;
            }
            EXPECT_EQ(different, 0);
            EXPECT_TRUE(ids.margin_is_untouched() && values.margin_is_untouched());
            const auto told = test::to_host<AssignCounts>(counts.get(), 1)[0];
            EXPECT_LE(told.decided, told.redone);
            EXPECT_LE(told.redone, data.n);
            if (split_all) {
                EXPECT_EQ(told.redone, data.n);
            }
        }
    }
}

INSTANTIATE_TEST_SUITE_P(Data, Exact, testing::ValuesIn(datasets()), [](const auto& tested) {
    return tested.param.name;
});

} // namespace
} // namespace faiss_flash::cuda
