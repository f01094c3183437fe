/// Checkpoints that are refused, and files that cannot be written.
#include <core/checkpoint_call.h>
#include <faiss_flash/opq.h>

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include <csignal>
#include <filesystem>
#include <fstream>
#include <functional>
#include <string>
#include <vector>

namespace faiss_flash {
namespace {

using test::BrokenOff;
using test::Call;
using test::calls;
using test::expect_same;
using test::Folder;
using test::state_in;

template <class Exception>
std::string error_of(const std::function<void()>& call) {
    try {
        call();
    } catch (const Exception& error) {
        return error.what();
    }
    return "";
}

/// 1024 of 5000 rows are looked at one by one, of the others only what they have in common.
TEST(Checkpoint, OfPointsThatDifferBetweenTheSampled) {
    const Folder folder;
    const std::string path = folder.file("state");
    Call call = calls()[0];
    call.n = 5000;
    call.x = test::normal(call.n, test::kD, 1);
    call.run(path, false, [](int64_t i) { return i != 3; });
    Call other = call;
    other.x[test::kD] = 100; // of row 1
    EXPECT_EQ(
            error_of<InvalidArgument>([&] { other.run(path, true); }),
            "checkpoint=" + path + " is of other points");
    expect_same(call.run(path, true), call.run("", false));
}

TEST(Checkpoint, OfSomethingElseIsRefused) {
    const Folder folder;
    const std::string path = folder.file("state");
    const Call call = calls()[5];
    call.run(path, false, [](int64_t i) { return i != 3; });
    const auto refused = [&](const std::function<void(Call&)>& change) {
        Call other = call;
        change(other);
        const std::string text = error_of<InvalidArgument>([&] { other.run(path, true); });
        const std::string begin = "checkpoint=" + path + " is of ";
        return text.rfind(begin, 0) == 0 ? text.substr(begin.size()) : text;
    };
    EXPECT_EQ(refused([](Call& c) { c.x[c.x.size() - 7 * test::kD] += 1; }), "other points");
    EXPECT_EQ(refused([](Call& c) { c.weights[5] += 1; }), "other weights");
    EXPECT_EQ(refused([](Call& c) { c.weighted = false; }), "other weights");
    EXPECT_EQ(refused([](Call& c) { c.given = 5; }), "other initial_centroids");
    EXPECT_EQ(refused([](Call& c) { c.n = 599, c.k = 8; }), "n=600 (here n=599), k=9 (here k=8)");
    EXPECT_EQ(
            refused([](Call& c) { c.options.metric = Metric::inner_product; }),
            "metric=l2 (here metric=inner_product)");
    EXPECT_EQ(refused([](Call& c) { c.options.niter = 13; }), "niter=12 (here niter=13)");
    EXPECT_EQ(refused([](Call& c) { c.options.seed = -7; }), "seed=1234 (here seed=clock)");
    EXPECT_EQ(
            refused([](Call& c) { c.options.early_stop_threshold = 0.5; }),
            "early_stop_threshold=none (here early_stop_threshold=0.5)");
    for (bool KMeansOptions::*option :
         {&KMeansOptions::spherical,
          &KMeansOptions::int_centroids,
          &KMeansOptions::frozen_centroids,
          &KMeansOptions::use_faster_subsampling}) {
        EXPECT_NE(refused([&](Call& c) { c.options.*option = !(c.options.*option); }), "");
    }
    EXPECT_NE(refused([](Call& c) { c.options.nredo = 2; }), "");
    EXPECT_NE(refused([](Call& c) { c.options.max_points_per_centroid = 1000; }), "");
    // These decide nothing; nor does fast on the CPU.
    Call same = call;
    same.options.min_points_per_centroid = 1;
    same.options.precision = Precision::fast;
    expect_same(same.run(path, true), call.run("", false));
}

TEST(Checkpoint, OfOtherOrDamagedBytesIsRefused) {
    const Folder folder;
    const std::string path = folder.file("state");
    const Call call = calls()[0];
    const auto error = [&] { return error_of<Error>([&] { call.run(path, true); }); };
    std::ofstream(path) << "# a text of some length\n";
    EXPECT_EQ(error(), "checkpoint=" + path + " is not a checkpoint of faiss_flash");
    std::filesystem::remove(path);
    call.run(path, false);
    std::ofstream(path, std::ios::app) << "x";
    EXPECT_EQ(error(), "checkpoint=" + path + " is damaged: there is more behind its end");
    // A file made with care, whose sizes are no run's.
    LloydState state = (call.run(path, false), state_in(path));
    state.best_centroids.pop_back();
    std::ofstream out(path, std::ios::binary);
    write_state(state, out);
    out.close();
    EXPECT_EQ(error(), "checkpoint=" + path + " is damaged: sizes do not fit");
}

TEST(Checkpoint, BadPathsAreFoundBeforeTheFirstIteration) {
    const Folder folder;
    const Call call = calls()[0];
    const auto never = [](int64_t) -> bool { throw BrokenOff("an iteration"); };
    const std::string missing = folder.file("none/state");
    for (const bool resume : {false, true}) {
        const auto error = [&](const std::string& path) {
            return error_of<Error>([&] { call.run(path, resume, never); });
        };
        EXPECT_EQ(
                error(missing),
                "checkpoint=" + missing + ": cannot write " + missing +
                        ".part: No such file or directory");
        EXPECT_NE(error(folder.file("")).find("is not a regular file"), std::string::npos);
        EXPECT_NE(error("/dev/null").find("checkpoint=/dev/null"), std::string::npos);
        EXPECT_NE(error(std::string("a\0b", 3)).find("null character"), std::string::npos);
        EXPECT_EQ(folder.files(), std::vector<std::string>{});
    }
    struct stat found {};
    ASSERT_EQ(stat("/dev/null", &found), 0);
    EXPECT_TRUE(S_ISCHR(found.st_mode));
}

/// Limits the size of files while it lives: a disk that is full.
struct SmallFiles {
    rlimit before{};
    explicit SmallFiles(rlim_t bytes) {
        std::signal(SIGXFSZ, SIG_IGN);
        getrlimit(RLIMIT_FSIZE, &before);
        const rlimit small{bytes, before.rlim_max};
        setrlimit(RLIMIT_FSIZE, &small);
    }
    ~SmallFiles() {
        setrlimit(RLIMIT_FSIZE, &before);
        std::signal(SIGXFSZ, SIG_DFL);
    }
};

TEST(Checkpoint, AFullDiskCostsNoResultAndLeavesTheOldFile) {
    const Folder folder;
    const std::string path = folder.file("state");
    const Call call = calls()[0];
    call.run(path, false, [](int64_t i) { return i != 3; });
    {
        const SmallFiles limit(500);
        testing::internal::CaptureStderr();
        expect_same(call.run(path, true), call.run("", false));
        const std::string text = testing::internal::GetCapturedStderr();
        const std::string warning = "WARNING checkpoint=" + path + ": cannot write " + path +
                                    ".part: File too large; the run goes on\n";
        EXPECT_NE(text.find(warning), std::string::npos) << text;
    }
    EXPECT_EQ(folder.files(), std::vector<std::string>{"state"});
    EXPECT_EQ(state_in(path).iterations, 4);
    expect_same(call.run(path, true), call.run("", false));
}

/// Of a run that is not over; in the same process or another one.
TEST(Checkpoint, AnotherRunsFileIsRefused) {
    const Folder folder;
    const std::string path = folder.file("state");
    const Call call = calls()[0];
    for (int round = 0; round < 2; round++) { // there is no file yet, and there is one
        std::string text;
        call.run(path, false, [&](int64_t i) {
            if (i == 2) {
                text = error_of<Error>([&] { call.run(path, false); });
            }
            return true;
        });
        EXPECT_EQ(text, "checkpoint=" + path + ": another run is writing it");
        expect_same(call.run(path, true), call.run("", false));
    }
}

TEST(Checkpoint, OtherFilesAreNotReplaced) {
    const Folder folder;
    const std::string path = folder.file("state");
    const Call call = calls()[0];
    for (const std::string& name : {path, path + ".part"}) {
        std::ofstream(name) << "precious, precious";
        EXPECT_EQ(
                error_of<Error>([&] { call.run(path, false); }),
                "checkpoint=" + path + ": " + name +
                        " is not a checkpoint of faiss_flash, and is not replaced");
        std::string kept;
        std::getline(std::ifstream(name), kept);
        EXPECT_EQ(kept, "precious, precious");
        std::filesystem::remove(name);
    }
    std::ofstream(folder.file("target")).close();
    std::filesystem::create_symlink(folder.file("target"), path);
    call.run(path, false, [](int64_t i) { return i != 3; });
    EXPECT_TRUE(std::filesystem::is_symlink(path));
    EXPECT_EQ(state_in(folder.file("target")).iterations, 4);
}

TEST(Checkpoint, IsOfOneRunOfKmeansAlone) {
    const Call call = calls()[0];
    KMeansInput input;
    input.points = VectorView::of(call.x.data(), test::kN, test::kD);
    KMeansOptions options;
    options.resume = true;
    EXPECT_THROW(kmeans(input, test::kK, options), InvalidArgument);
    options.resume = false;
    options.checkpoint = "state of a batch";
    EXPECT_THROW(batch_kmeans({input, input}, test::kK, options), InvalidArgument);
    EXPECT_THROW(train_opq({}, options), InvalidArgument);
    EXPECT_FALSE(std::filesystem::exists(options.checkpoint));
}

} // namespace
} // namespace faiss_flash
