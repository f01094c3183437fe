/// Random calls: the CPU with one thread and packed float32 rows is what everything else must
/// equal, to the bit, or raise where that raises. FAISS_FLASH_RANDOM_SECONDS and
/// FAISS_FLASH_RANDOM_SEED make the test longer and other.
#include <faiss_flash/codes.h>
#include <faiss_flash/kmeans.h>

#include <support/oracle.h>

#include "random_call.h"

#include <gtest/gtest.h>

#ifdef FAISS_FLASH_TEST_CUDA
#include <cuda/device_data.h>
#endif

#include <unistd.h>

#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>

namespace faiss_flash {
namespace {

using test::Draw;
using test::RandomCall;

/// Where the points are on their way into a call.
enum class Place { host, pinned, device };

/// A copy of host rows in another kind of memory, which lives as long as this.
class Placed {
   public:
    Placed(VectorView& view, Place place) {
#ifdef FAISS_FLASH_TEST_CUDA
        const auto bytes = static_cast<size_t>(view.n * view.row_stride);
        if (place == Place::device) {
            device_ = test::to_device(view.data, bytes);
            view.data = device_.get();
            view.space = MemorySpace::device;
        } else if (place == Place::pinned) {
            void* memory = nullptr;
            cuda::check(cudaMallocHost(&memory, bytes), "page-locked memory");
            pinned_.reset(memory);
            std::memcpy(memory, view.data, bytes);
            view.data = memory;
            view.space = MemorySpace::pinned;
        }
#else
        (void)view;
        (void)place;
#endif
    }

#ifdef FAISS_FLASH_TEST_CUDA
   private:
    struct FreeHost {
        void operator()(void* memory) const { cudaFreeHost(memory); }
    };
    test::DevicePointer device_;
    std::unique_ptr<void, FreeHost> pinned_;
#endif
};

struct Outcome {
    std::string error; ///< the exception's text, empty where there was none
    std::vector<KMeansResult> results;
    std::vector<int64_t> ids;
    std::vector<float> distances;
};

Outcome outcome_of(const std::function<void(Outcome&)>& call) {
    Outcome outcome;
    try {
        call(outcome);
    } catch (const InvalidArgument& error) {
        outcome = Outcome();
        outcome.error = error.what();
    }
    return outcome;
}

Outcome clustered(
        const RandomCall& call, const std::string& device, Place place, Precision precision) {
    std::vector<KMeansInput> inputs = call.inputs();
    std::vector<std::unique_ptr<Placed>> memory;
    for (KMeansInput& input : inputs) {
        memory.push_back(std::make_unique<Placed>(input.points, place));
    }
    KMeansOptions options = call.options;
    options.device = device;
    options.precision = precision;
    return outcome_of(
            [&](Outcome& outcome) { outcome.results = batch_kmeans(inputs, call.k, options); });
}

/// Of one problem: begun on the CPU, stopped on its way and taken up on `device`.
Outcome resumed(const RandomCall& call, const std::string& device) {
    const std::string path = testing::TempDir() + "random_" + std::to_string(getpid());
    KMeansOptions options = call.options;
    options.checkpoint = path;
    options.device = "cpu";
    int64_t left = call.options.nredo > 1 ? -1 : 1 + static_cast<int64_t>(call.seed % 4);
    options.callback = [&](const IterationStats&, double) { return --left != 0; };
    const Outcome outcome = outcome_of([&](Outcome& made) {
        batch_kmeans(call.inputs(), call.k, options);
        options.callback = nullptr;
        options.resume = true;
        options.device = device;
        made.results = batch_kmeans(call.inputs(), call.k, options);
    });
    std::remove(path.c_str());
    return outcome;
}

Outcome assigned(const RandomCall& call, const std::string& device, Place place) {
    VectorView points = call.problems.front().points.view();
    const Placed memory(points, place);
    return outcome_of([&](Outcome& outcome) {
        outcome.ids.resize(static_cast<size_t>(points.n));
        outcome.distances.resize(outcome.ids.size());
        assign(points,
               call.centroids.view(),
               call.options.metric,
               outcome.ids.data(),
               outcome.distances.data(),
               device);
    });
}

/// The same call with every row as packed float32.
RandomCall as_floats(RandomCall call) {
    for (test::RandomProblem& problem : call.problems) {
        test::RandomRows& rows = problem.points;
        rows.dtype = DType::f32;
        rows.row_stride = rows.d * 4;
        rows.bytes.resize(rows.floats.size() * 4);
        std::memcpy(rows.bytes.data(), rows.floats.data(), rows.bytes.size());
    }
    return call;
}

template <class T>
bool same_bits(const std::vector<T>& a, const std::vector<T>& b) {
    return a.size() == b.size() &&
           (a.empty() || std::memcmp(a.data(), b.data(), a.size() * sizeof(T)) == 0);
}

void expect_same(const RandomCall& call, const Outcome& got, const Outcome& expected) {
    ASSERT_EQ(got.error, expected.error);
    EXPECT_EQ(got.ids, expected.ids);
    EXPECT_TRUE(same_bits(got.distances, expected.distances));
    ASSERT_EQ(got.results.size(), expected.results.size());
    for (size_t b = 0; b < got.results.size(); b++) {
        SCOPED_TRACE("problem " + std::to_string(b));
        const KMeansResult& mine = got.results[b];
        const KMeansResult& theirs = expected.results[b];
        // Backends add objectives up differently: restarts that end alike may be told apart.
        const double rounding =
                1e-9 * std::abs(theirs.iterations.back().objective) + 1e-12 * call.squares;
        if (call.options.nredo > 1 && !same_bits(mine.centroids, theirs.centroids)) {
            EXPECT_NEAR(
                    mine.iterations.back().objective, theirs.iterations.back().objective, rounding);
            continue;
        }
        EXPECT_TRUE(same_bits(mine.centroids, theirs.centroids));
        EXPECT_EQ(mine.assignment, theirs.assignment);
        EXPECT_TRUE(same_bits(mine.distances, theirs.distances));
        ASSERT_EQ(mine.iterations.size(), theirs.iterations.size());
        for (size_t i = 0; i < mine.iterations.size(); i++) {
            EXPECT_EQ(mine.iterations[i].nsplit, theirs.iterations[i].nsplit) << i;
            EXPECT_EQ(mine.iterations[i].imbalance_factor, theirs.iterations[i].imbalance_factor)
                    << i;
            EXPECT_NEAR(mine.iterations[i].objective, theirs.iterations[i].objective, rounding)
                    << i;
        }
    }
}

/// What can be said of any clustering, of Precision::fast too.
void expect_sound(const RandomCall& call, const Outcome& outcome) {
    for (size_t b = 0; b < outcome.results.size(); b++) {
        const KMeansResult& result = outcome.results[b];
        for (const float value : result.centroids) {
            ASSERT_TRUE(std::isfinite(value));
        }
        for (const int64_t id : result.assignment) {
            ASSERT_TRUE(id >= 0 && id < call.k);
        }
    }
}

void expect_oracles_ids(const RandomCall& call, const Outcome& outcome) {
    const test::RandomRows& points = call.problems.front().points;
    if (outcome.error.empty() && points.n * points.d * call.k < 3000000) {
        EXPECT_EQ(
                test::count_wrong(
                        call.options.metric,
                        points.floats,
                        call.centroids.floats,
                        points.d,
                        outcome.ids,
                        false),
                0);
    }
}

void check(uint64_t seed) {
    const RandomCall call(seed);
    SCOPED_TRACE(call.description());
    const RandomCall plain = as_floats(call);
    const int threads = num_threads();
    set_num_threads(1);
    const Outcome expected = clustered(plain, "cpu", Place::host, Precision::exact);
    const Outcome expected_ids = assigned(plain, "cpu", Place::host);
    set_num_threads(threads);
    expect_sound(call, expected);
    expect_oracles_ids(call, expected_ids);
    {
        SCOPED_TRACE("the rows as they are, several threads");
        expect_same(call, clustered(call, "cpu", Place::host, Precision::exact), expected);
        expect_same(call, assigned(call, "cpu", Place::host), expected_ids);
    }
    if (call.problems.size() == 1) {
        SCOPED_TRACE("with a break");
        expect_same(call, resumed(call, available_backends().front()), expected);
    }
    if (available_backends().front() == "cpu") {
        return;
    }
    Draw draw(seed + 1);
    const Place place = draw.of(std::vector<Place>{Place::host, Place::pinned, Place::device});
    SCOPED_TRACE("on the device, place " + std::to_string(static_cast<int>(place)));
    expect_same(call, clustered(call, "cuda", place, Precision::exact), expected);
    expect_same(call, assigned(call, "cuda", place), expected_ids);
    const Outcome fast = clustered(call, "cuda", place, Precision::fast);
    EXPECT_EQ(fast.error, expected.error);
    expect_sound(call, fast);
    const Outcome again = clustered(call, "cuda", place, Precision::fast);
    for (size_t b = 0; b < fast.results.size(); b++) {
        EXPECT_TRUE(same_bits(fast.results[b].centroids, again.results[b].centroids));
    }
}

TEST(Random, CallsGiveTheSameEverywhere) {
    const char* seconds_text = std::getenv("FAISS_FLASH_RANDOM_SECONDS");
    const char* seed_text = std::getenv("FAISS_FLASH_RANDOM_SEED");
    const double seconds = seconds_text ? std::atof(seconds_text) : 0;
    uint64_t seed = seed_text ? std::strtoull(seed_text, nullptr, 10) : 1;
    constexpr int kCalls = 50; // where no time is set
    const auto start = std::chrono::steady_clock::now();
    int64_t calls = 0;
    for (;; calls++, seed++) {
        const std::chrono::duration<double> spent = std::chrono::steady_clock::now() - start;
        if ((seconds > 0 ? spent.count() >= seconds : calls >= kCalls) || HasFailure()) {
            break;
        }
        check(seed);
    }
    std::printf("    %ld calls, the last of seed %ld\n", long(calls), long(seed) - 1);
}

/// Calls that once went wrong.
TEST(Random, CallsThatFailedBefore) {
    for (const uint64_t seed : {0}) {
        check(seed);
    }
}

} // namespace
} // namespace faiss_flash
