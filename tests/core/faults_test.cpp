/// Inputs and surroundings that once crashed, hung or went unnoticed, on the CPU.
#include <faiss_flash/codes.h>
#include <faiss_flash/kmeans.h>

#include <support/data.h>

#include <gtest/gtest.h>
#include <omp.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cmath>
#include <functional>
#include <limits>
#include <stdexcept>
#include <thread>

namespace faiss_flash {
namespace {

using test::Floats;

constexpr int64_t kRows = 3000;
constexpr int64_t kColumns = 12;

/// Codes of a byte a column.
class Decoder : public RowDecoder {
   public:
    explicit Decoder(const uint8_t* first) : first_(first) {}
    void decode(int64_t n, const uint8_t* codes, float* out) const override {
        for (int64_t i = 0; i < n * kColumns; i++) {
            out[i] = codes[i];
        }
        const int64_t row = (codes - first_) / kColumns;
        for (int64_t i = 0; i < n; i++) {
            decoded(row + i, out + i * kColumns);
        }
    }
    virtual void decoded(int64_t /*row*/, float* /*values*/) const {}

   private:
    const uint8_t* first_;
};

class DecoderOfNaNs final : public Decoder {
   public:
    DecoderOfNaNs(const uint8_t* first, int64_t bad_row) : Decoder(first), bad_row_(bad_row) {}
    void decoded(int64_t row, float* values) const override {
        if (row == bad_row_) {
            values[5] = NAN;
        }
    }

   private:
    int64_t bad_row_;
};

class ThrowingDecoder final : public Decoder {
   public:
    using Decoder::Decoder;
    void decoded(int64_t row, float* /*values*/) const override {
        if (row == 2500) {
            throw std::runtime_error("no such code");
        }
    }
};

struct Decoded : testing::Test {
    std::vector<uint8_t> codes = std::vector<uint8_t>(kRows * kColumns);
    KMeansInput input;
    KMeansOptions options;
    void SetUp() override {
        for (size_t i = 0; i < codes.size(); i++) {
            codes[i] = static_cast<uint8_t>(i * 7919 % 251);
        }
        input.points.data = codes.data();
        input.points.n = kRows;
        input.points.d = input.points.row_stride = kColumns;
        options.device = "cpu";
        options.niter = 3;
    }
    void expect_rejected(const std::string& text) {
        try {
            kmeans(input, 20, options);
            ADD_FAILURE() << "accepted";
        } catch (const InvalidArgument& error) {
            EXPECT_NE(std::string(error.what()).find(text), std::string::npos) << error.what();
        }
    }
};

TEST_F(Decoded, RowsThatAreNotFiniteAreNamed) {
    const DecoderOfNaNs decoder(codes.data(), 2999);
    input.points.decoder = &decoder;
    expect_rejected("points[2999][5] is not finite");
}

/// Rows that are not trained on, but assigned at the end.
TEST_F(Decoded, RowsOutsideTheSampleAreNamedWhenTheyAreAssigned) {
    options.max_points_per_centroid = 2;
    options.min_points_per_centroid = 1;
    for (int64_t row = 0; row < 100; row++) { // of which most are in no sample of 40
        const DecoderOfNaNs decoder(codes.data(), row);
        input.points.decoder = &decoder;
        options.return_assignment = true;
        expect_rejected("points[" + std::to_string(row) + "][5] is not finite");
    }
}

TEST_F(Decoded, ExceptionsReachTheCaller) {
    const ThrowingDecoder decoder(codes.data());
    input.points.decoder = &decoder;
    EXPECT_THROW(kmeans(input, 20, options), std::runtime_error);
    const Floats books = test::normal(3 * 16, 4, 1);
    std::vector<uint8_t> out(kRows * 3, 99);
    EXPECT_THROW(
            encode(input.points, {}, {books.data(), 3, 16, 4}, out.data(), 3, "cpu"),
            std::runtime_error);
    EXPECT_EQ(out, std::vector<uint8_t>(kRows * 3, 99));
}

struct Stop {};

/// Calls poll() of long work until it has had enough.
void expect_stopped(
        const char* name, const std::function<void(const std::function<void()>&)>& work) {
    SCOPED_TRACE(name);
    std::thread::id caller = std::this_thread::get_id();
    int polls = 0;
    const auto start = std::chrono::steady_clock::now();
    EXPECT_THROW(
            work([&] {
                EXPECT_EQ(std::this_thread::get_id(), caller);
                if (++polls == 3) {
                    throw Stop();
                }
            }),
            Stop);
    const std::chrono::duration<double> spent = std::chrono::steady_clock::now() - start;
    EXPECT_EQ(polls, 3);
    std::printf("    %s: %.2f s\n", name, spent.count());
}

/// Work of many seconds, whose caller changes his mind.
TEST(Stopping, LongWorkIsStopped) {
    constexpr int64_t kMany = 300000;
    constexpr int64_t kD = 64;
    const Floats x = test::normal(kMany, kD, 1);
    const VectorView rows = VectorView::of(x.data(), kMany, kD);
    std::vector<int64_t> ids(kMany, 77);
    expect_stopped("assign", [&](const std::function<void()>& poll) {
        const VectorView centroids = VectorView::of(x.data(), 20000, kD);
        assign(rows, centroids, Metric::l2, ids.data(), nullptr, "cpu", poll);
    });
    EXPECT_EQ(ids, std::vector<int64_t>(kMany, 77));
    std::vector<uint8_t> codes(kMany * 16, 99);
    expect_stopped("encode", [&](const std::function<void()>& poll) {
        const Floats books = test::normal(16 * 256, 4, 1);
        encode(rows, {}, {books.data(), 16, 256, 4}, codes.data(), 16, "cpu", poll);
    });
    EXPECT_EQ(codes, std::vector<uint8_t>(kMany * 16, 99));
    expect_stopped("one iteration", [&](const std::function<void()>& poll) {
        KMeansInput input;
        input.points = rows;
        KMeansOptions options;
        options.device = "cpu";
        options.max_points_per_centroid = -1;
        options.niter = 1;
        options.poll = poll;
        kmeans(input, 20000, options);
    });
}

/// The exit status of a child in which `work` ends in time; 124 where it hangs.
int status_of_child(const std::function<void()>& work) {
    std::fflush(stdout);
    const pid_t child = fork();
    if (child == 0) {
        alarm(20);
        work();
        std::_Exit(0);
    }
    int status = -1;
    EXPECT_EQ(waitpid(child, &status, 0), child);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 124;
}

/// OpenMP's threads do not survive a fork, but it waits for them: a child works with one thread.
TEST(Forking, AChildWorks) {
    const Floats x = test::normal(20000, 32, 1);
    KMeansInput input;
    input.points = VectorView::of(x.data(), 20000, 32);
    KMeansOptions options;
    options.device = "cpu";
    options.niter = 2;
    const int before = omp_get_max_threads();
    omp_set_num_threads(3);
    const Floats expected = kmeans(input, 30, options).centroids;
    const auto cluster = [&] {
        if (kmeans(input, 30, options).centroids != expected) {
            std::_Exit(1);
        }
        std::vector<int64_t> ids(20000);
        const VectorView centroids = VectorView::of(expected.data(), 30, 32);
        assign(input.points, centroids, Metric::l2, ids.data(), nullptr, "cpu");
    };
    EXPECT_EQ(status_of_child(cluster), 0);
    EXPECT_EQ(
            status_of_child([&] { // and a child's child
                std::_Exit(status_of_child(cluster));
            }),
            0);
    // With threads of others, too: they may be of the same OpenMP.
    EXPECT_EQ(status_of_child([&] { std::_Exit(num_threads() == 1 ? 0 : 1); }), 0);
    EXPECT_EQ(num_threads(), 3);
    EXPECT_EQ(kmeans(input, 30, options).centroids, expected);
    omp_set_num_threads(before);
}

TEST(Threads, AreTheCallingThreads) {
    const int before = num_threads();
    EXPECT_EQ(before, omp_get_max_threads());
    set_num_threads(before + 2);
    EXPECT_EQ(omp_get_max_threads(), before + 2);
    set_num_threads(before);
    EXPECT_THROW(set_num_threads(0), InvalidArgument);
}

TEST(CheckFinite, NamesTheFirst) {
    Floats x = test::normal(5000, 30, 1);
    EXPECT_NO_THROW(check_finite(VectorView::of(x.data(), 5000, 30), "x"));
    x[4000 * 30 + 7] = INFINITY;
    x[3000 * 30 + 9] = NAN;
    try {
        check_finite(VectorView::of(x.data(), 5000, 30), "rows");
        ADD_FAILURE() << "accepted";
    } catch (const InvalidArgument& error) {
        EXPECT_NE(std::string(error.what()).find("rows[3000][9] is not finite"), std::string::npos)
                << error.what();
    }
}

/// Half of a coordinate next to the end of float32 is split off without becoming an infinity.
TEST(Splits, StayFinite) {
    Floats x(400 * 4, 3.4028e38f);
    for (size_t i = 0; i < x.size(); i += 8) {
        x[i] = -3.4028e38f;
    }
    KMeansInput input;
    input.points = VectorView::of(x.data(), 400, 4);
    KMeansOptions options;
    options.device = "cpu";
    options.return_assignment = true;
    const auto result = kmeans(input, 10, options);
    EXPECT_GT(result.iterations[0].nsplit, 0);
    for (const float value : result.centroids) {
        EXPECT_TRUE(std::isfinite(value));
    }
}

} // namespace
} // namespace faiss_flash
