/// The engine's functions while allocations fail.
#include <faiss_flash/assigner.h>
#include <faiss_flash/codes.h>
#include <faiss_flash/kmeans.h>
#include <faiss_flash/opq.h>

#include <allocations/failing_operations.h>
#include <support/data.h>

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdio>
#include <string>

namespace faiss_flash {
namespace {

using test::Allocated;
using test::fail_all;
using test::Floats;
using test::Operation;
using test::Outcome;

void append(Outcome& outcome, const KMeansResult& result) {
    outcome.insert(outcome.end(), result.centroids.begin(), result.centroids.end());
    outcome.insert(outcome.end(), result.assignment.begin(), result.assignment.end());
    outcome.insert(outcome.end(), result.distances.begin(), result.distances.end());
}

struct Data {
    static constexpr int64_t kN = 700, kD = 24, kK = 9;
    Floats x = test::mixture(kN, kD, 20, 1, 0.4f);
    Floats weights = Floats(kN, 2.0f);
    std::vector<uint8_t> bytes;
    Floats books = test::normal(6 * 16, 4, 3);
    Data() {
        for (const float value : test::descriptors(kN, kD, 2)) {
            bytes.push_back(static_cast<uint8_t>(value));
        }
    }
};

KMeansOptions options_for(const std::string& device) {
    KMeansOptions options;
    options.device = device;
    options.niter = 7; // the last ones are replayed
    options.early_stop_threshold.reset();
    options.return_assignment = true;
    return options;
}

std::vector<Operation> operations(const Data& data, const std::string& device) {
    constexpr int64_t kN = Data::kN;
    constexpr int64_t kD = Data::kD;
    constexpr int64_t kK = Data::kK;
    const auto trained =
            [&data](const std::string& where, bool weighted, int64_t parts, Precision precision) {
                return [&data, where, weighted, parts, precision] {
                    std::vector<KMeansInput> inputs(static_cast<size_t>(parts));
                    const int64_t d = kD / parts;
                    for (int64_t p = 0; p < parts; p++) {
                        VectorView& points = inputs[static_cast<size_t>(p)].points;
                        points = VectorView::of(data.x.data() + p * d, kN, d);
                        points.row_stride = kD * 4;
                        if (precision == Precision::fast) {
                            points.data = data.bytes.data() + p * d;
                            points.dtype = DType::u8;
                            points.row_stride = kD;
                        }
                    }
                    if (weighted) {
                        inputs[0].weights = VectorView::of(data.weights.data(), kN, 1);
                    }
                    KMeansOptions options = options_for(where);
                    options.precision = precision;
                    Outcome outcome;
                    for (const KMeansResult& result : batch_kmeans(inputs, kK, options)) {
                        append(outcome, result);
                    }
                    return outcome;
                };
            };
    const auto restarts = [&data, device] {
        KMeansInput input;
        input.points = VectorView::of(data.x.data(), kN, kD);
        input.initial_centroids = VectorView::of(data.x.data(), 2, kD);
        KMeansOptions options = options_for(device);
        options.nredo = 2;
        options.max_points_per_centroid = 40;
        Outcome outcome;
        append(outcome, kmeans(input, kK, options));
        return outcome;
    };
    const auto resumed = [&data, device] {
        KMeansInput input;
        input.points = VectorView::of(data.x.data(), kN, kD);
        KMeansOptions options = options_for(device);
        options.checkpoint = testing::TempDir() + "allocations_" + std::to_string(getpid());
        int64_t calls = 0;
        options.callback = [&](const IterationStats&, double) { return ++calls != 3; };
        Outcome outcome;
        try {
            kmeans(input, kK, options);
            options.resume = true;
            append(outcome, kmeans(input, kK, options));
        } catch (...) {
            test::stop_failing();
            EXPECT_NE(std::remove((options.checkpoint + ".part").c_str()), 0);
            std::remove(options.checkpoint.c_str());
            throw;
        }
        EXPECT_EQ(std::remove(options.checkpoint.c_str()), 0);
        return outcome;
    };
    const auto assigned = [&data, device] {
        std::vector<int64_t> ids(kN, 77);
        Floats distances(kN, 7);
        try {
            assign(VectorView::of(data.x.data(), kN, kD),
                   VectorView::of(data.x.data(), kK, kD),
                   Metric::l2,
                   ids.data(),
                   distances.data(),
                   device);
        } catch (...) {
            test::stop_failing();
            EXPECT_EQ(ids, std::vector<int64_t>(kN, 77));
            EXPECT_EQ(distances, Floats(kN, 7));
            throw;
        }
        Outcome outcome(ids.begin(), ids.end());
        outcome.insert(outcome.end(), distances.begin(), distances.end());
        return outcome;
    };
    const auto prepared = [&data, device] {
        std::vector<int64_t> ids(kN, 77);
        try {
            const VectorView centroids = VectorView::of(data.x.data(), kK, kD);
            const PreparedAssigner assigner(centroids, Metric::l2, device);
            for (const int64_t n : {kN, kN / 2}) {
                assigner.assign(VectorView::of(data.x.data(), n, kD), ids.data(), nullptr);
            }
        } catch (...) {
            test::stop_failing();
            throw;
        }
        return Outcome(ids.begin(), ids.end());
    };
    const auto encoded = [&data, device] {
        std::vector<uint8_t> codes(kN * 6, 99);
        try {
            encode(VectorView::of(data.x.data(), kN, kD),
                   {},
                   {data.books.data(), 6, 16, 4},
                   codes.data(),
                   6,
                   device);
        } catch (...) {
            test::stop_failing();
            EXPECT_EQ(codes, std::vector<uint8_t>(kN * 6, 99));
            throw;
        }
        return Outcome(codes.begin(), codes.end());
    };
    const auto rotated = [&data, device] {
        OpqInput input;
        input.points = VectorView::of(data.x.data(), kN, kD);
        input.d_out = kD;
        input.subspaces = 4;
        input.ksub = 4;
        input.niter = 2;
        input.niter_first = 2;
        input.niter_later = 1;
        input.rotation.assign(kD * kD, 0.0f);
        for (size_t i = 0; i < kD; i++) {
            input.rotation[i * kD + i] = 1;
        }
        KMeansOptions options;
        options.device = device;
        const OpqResult result = train_opq(input, options);
        return Outcome(result.rotation.begin(), result.rotation.end());
    };
    std::vector<Operation> all{
            {"kmeans", trained(device, false, 1, Precision::exact)},
            {"weighted", trained(device, true, 1, Precision::exact)},
            {"restarts", restarts},
            {"resumed", resumed},
            {"batch", trained(device, false, 4, Precision::exact)},
            {"assign", assigned},
            {"prepared", prepared},
            {"encode", encoded},
            {"opq", rotated},
    };
    if (device != "cpu") { // the host is exact always
        for (const int64_t parts : {1, 3}) {
            const auto fast = trained(device, false, parts, Precision::fast);
            all.push_back({"fast", fast, trained("cpu", false, parts, Precision::fast)});
        }
    }
    return all;
}

void fail_all_on(const std::string& device, Allocated kind) {
    const Data data;
    fail_all(operations(data, device), kind);
}

TEST(Allocation, OfTheHostFailsOnTheCpu) {
    fail_all_on("cpu", Allocated::host);
}

#ifdef FAISS_FLASH_TEST_CUDA

using OnDevice = test::OnDevice;

TEST_P(OnDevice, AllocationFails) {
    fail_all_on("cuda", GetParam());
}

INSTANTIATE_TEST_SUITE_P(
        Kinds,
        OnDevice,
        testing::Values(Allocated::host, Allocated::device, Allocated::pinned),
        test::name_of);

using PinnedMemory = test::OnDevice;

/// Calls of many sizes do not add up.
TEST_P(PinnedMemory, StaysBounded) {
    const Floats x = test::normal(200000, 8, 1);
    KMeansOptions options = options_for("cuda");
    options.niter = 1;
    for (int64_t n = 1000; n < 101000; n += 100) {
        KMeansInput input;
        input.points = VectorView::of(x.data(), n, 8);
        kmeans(input, 3, options);
    }
    EXPECT_LE(test::pinned_bytes(), int64_t{64} << 20);
}

INSTANTIATE_TEST_SUITE_P(One, PinnedMemory, testing::Values(Allocated::pinned));

#endif

} // namespace
} // namespace faiss_flash
