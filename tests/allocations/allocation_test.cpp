/// Each allocation of each function made to fail once, and all from it on: an exception or the
/// result, everything as it was before, nothing lost, and the next call works.
#include <faiss_flash/codes.h>
#include <faiss_flash/kmeans.h>
#include <faiss_flash/opq.h>

#include <support/data.h>
#include <support/failing_allocations.h>

#include <gtest/gtest.h>

#ifdef FAISS_FLASH_TEST_CUDA
#include <faiss_flash/cuda/runtime/pool.h>

#include <cuda/device_data.h>
#endif

#include <cstdio>
#include <functional>
#include <new>

namespace faiss_flash {
namespace {

using test::Allocated;
using test::Floats;

/// What a call gives back, whatever its type: a sum of values would hide what changed.
using Outcome = std::vector<double>;

struct Operation {
    std::string name;
    std::function<Outcome()> run;           ///< expects its outputs untouched where it throws
    std::function<Outcome()> on_host = run; ///< where the device has no room
};

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
            EXPECT_EQ(ids, std::vector<int64_t>(kN, 77));
            EXPECT_EQ(distances, Floats(kN, 7));
            throw;
        }
        Outcome outcome(ids.begin(), ids.end());
        outcome.insert(outcome.end(), distances.begin(), distances.end());
        return outcome;
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
            {"batch", trained(device, false, 4, Precision::exact)},
            {"assign", assigned},
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

int64_t used_device_bytes() {
#ifdef FAISS_FLASH_TEST_CUDA
    if (available_backends().front() != "cpu") {
        uint64_t used = 0;
        cuda::check(
                cudaMemPoolGetAttribute(cuda::memory_pool(), cudaMemPoolAttrUsedMemCurrent, &used),
                "the pool");
        return static_cast<int64_t>(used);
    }
#endif
    return 0;
}

/// What is kept for later would be no allocation.
void forget_pinned_memory() {
#ifdef FAISS_FLASH_TEST_CUDA
    if (available_backends().front() != "cpu") {
        std::vector<void*> all;
        while (all.size() < 20) { // more than are kept
            all.push_back(cuda::take_pinned(1));
        }
        for (void* block : all) {
            cudaFreeHost(block);
        }
    }
#endif
}

/// One by one, every allocation of the operation fails.
void fail_each(const Operation& operation, Allocated kind, bool all_later) {
    const Outcome expected = operation.run();
    const Outcome on_host = operation.on_host();
    int64_t exceptions = 0;
    int64_t results = 0;
    for (int64_t nth = 1;; nth += 1 + nth / 40) { // of thousands, not every one
        Outcome outcome;
        bool returned = false;
        if (kind == Allocated::pinned) {
            forget_pinned_memory();
        }
        test::fail_allocation(kind, nth, all_later);
        try {
            outcome = operation.run();
            returned = true;
        } catch (const std::bad_alloc&) {
        } catch (const OutOfDeviceMemory&) {
            EXPECT_NE(kind, Allocated::host);
        } catch (const std::exception& error) {
            test::stop_failing();
            ADD_FAILURE() << "allocation " << nth << ": " << error.what();
        }
        const bool failed = test::stop_failing();
        exceptions += !returned;
        results += returned && failed;
        if (returned) {
            ASSERT_TRUE(outcome == expected || outcome == on_host) << "allocation " << nth;
        }
        ASSERT_EQ(used_device_bytes(), 0) << "allocation " << nth;
        if (!failed) {
            break;
        }
        if (nth % 5 == 0) {
            ASSERT_EQ(operation.run(), expected) << "after allocation " << nth;
        }
    }
    EXPECT_EQ(operation.run(), expected);
    std::printf("    %ld exceptions, %ld results\n", long(exceptions), long(results));
    // A device that has no room leaves the work to the host; the host has nobody to leave it to.
    EXPECT_GT(kind == Allocated::host ? exceptions : results, 0);
}

int64_t resident_bytes() {
    long pages = 0;
    long resident = 0;
    std::FILE* file = std::fopen("/proc/self/statm", "r");
    EXPECT_EQ(std::fscanf(file, "%ld %ld", &pages, &resident), 2);
    std::fclose(file);
    return int64_t{resident} * 4096;
}

void fail_all(const std::string& device, Allocated kind) {
    const Data data;
    for (const Operation& operation : operations(data, device)) {
        SCOPED_TRACE(operation.name);
        operation.run();
        [[maybe_unused]] const int64_t before = resident_bytes();
        for (const bool all_later : {false, true}) {
            fail_each(operation, kind, all_later);
        }
#ifndef __SANITIZE_ADDRESS__ // which keeps what is freed, and looks for leaks itself
        // Each of some hundred failures would lose at least the points.
        EXPECT_LT(resident_bytes() - before, int64_t{24} << 20);
#endif
    }
}

TEST(Allocation, OfTheHostFailsOnTheCpu) {
    fail_all("cpu", Allocated::host);
}

#ifdef FAISS_FLASH_TEST_CUDA

struct OnDevice : testing::TestWithParam<Allocated> {
    void SetUp() override {
        if (available_backends().front() == "cpu") {
            GTEST_SKIP() << "no CUDA device";
        }
    }
};

TEST_P(OnDevice, AllocationFails) {
    fail_all("cuda", GetParam());
}

INSTANTIATE_TEST_SUITE_P(
        Kinds,
        OnDevice,
        testing::Values(Allocated::host, Allocated::device, Allocated::pinned),
        [](const auto& tested) {
            return tested.param == Allocated::host     ? "host"
                   : tested.param == Allocated::device ? "device"
                                                       : "pinned";
        });

using PinnedMemory = OnDevice;

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
