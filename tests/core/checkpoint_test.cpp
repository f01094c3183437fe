/// KMeansOptions::checkpoint and ::resume: runs that are broken off end with the same bits.
#include <core/checkpoint_call.h>

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <random>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace faiss_flash {
namespace {

using test::BrokenOff;
using test::Call;
using test::calls;
using test::expect_same;
using test::Folder;
using test::state_in;

void pause_for(double milliseconds) {
    std::this_thread::sleep_for(std::chrono::duration<double, std::milli>(milliseconds));
}

/// Iterations of a call, those before its last restart first.
std::pair<int64_t, int64_t> iterations_of(Call call) {
    int64_t all = 0;
    int64_t before = 0;
    const auto counted = [&](int64_t) { return ++all > 0; };
    call.run("", false, counted);
    std::swap(all, before);
    if (--call.options.nredo > 0) {
        call.run("", false, counted);
    }
    return {all, before};
}

TEST(Checkpoint, RunsStoppedAnywhereGoOn) {
    const Folder folder;
    const std::string path = folder.file("state");
    for (const Call& call : calls()) {
        SCOPED_TRACE(call.name);
        const KMeansResult expected = call.run("", false);
        const auto [before, all] = iterations_of(call);
        for (int64_t stop = before; stop < all; stop++) {
            SCOPED_TRACE(stop);
            call.run(path, false, [&, last = stop](int64_t i) { return i != last; });
            int64_t later = 0;
            expect_same(call.run(path, true, [&](int64_t) { return ++later > 0; }), expected);
            EXPECT_EQ(later, all - stop - 1);
            EXPECT_EQ(folder.files(), std::vector<std::string>{"state"});
        }
    }
}

/// An exception leaves the newest state that was written; which one that is, is a matter of time.
TEST(Checkpoint, RunsBrokenOffAnywhereGoOn) {
    const Folder folder;
    const std::string path = folder.file("state");
    std::mt19937 random(5);
    int64_t saved = 0;
    for (const Call& call : calls()) {
        SCOPED_TRACE(call.name);
        const KMeansResult expected = call.run("", false);
        const int64_t all = iterations_of(call).second;
        for (int trial = 0; trial < 3; trial++) {
            std::filesystem::remove(path);
            const int64_t last = 2 + static_cast<int64_t>(random()) % (all - 2);
            SCOPED_TRACE(last);
            const auto broken_off = [&](int64_t i) {
                pause_for(4);
                return i == last ? throw BrokenOff("") : true;
            };
            EXPECT_THROW(call.run(path, true, broken_off), BrokenOff);
            int64_t later = 0;
            expect_same(call.run(path, true, [&](int64_t) { return ++later > 0; }), expected);
            saved += all - later;
        }
    }
    EXPECT_GT(saved, 0);
}

/// What the callback has decided about the restarts before is not forgotten.
TEST(Checkpoint, RestartsThatTheCallbackEndedStayEnded) {
    const Folder folder;
    const Call call = calls()[7];
    const auto ends_first = [](int64_t i) { return i != 2; };
    const KMeansResult expected = call.run("", false, ends_first);
    const auto stops = [&](int64_t i) { return ends_first(i) && i != 10; }; // in the last
    call.run(folder.file("state"), false, stops);
    expect_same(call.run(folder.file("state"), true), expected);
}

/// A state between two restarts, which runs write only where one is due just then: made of the
/// last state of a run that ends there.
TEST(Checkpoint, RunsGoOnBetweenRestarts) {
    const Folder folder;
    const std::string path = folder.file("state");
    for (Call call : calls()) {
        SCOPED_TRACE(call.name);
        call.options.nredo = 1;
        call.run(path, false);
        call.options.nredo = 3;
        LloydState state = state_in(path);
        state.centroids = state.best_centroids;
        std::string& options = state.fingerprint.options;
        options.replace(options.find("nredo=1"), 7, "nredo=3");
        {
            std::ofstream out(path, std::ios::binary);
            write_state(state, out);
        }
        expect_same(call.run(path, true), call.run("", false));
    }
}

TEST(Checkpoint, FinishedRunsGiveTheirResult) {
    const Folder folder;
    const std::string path = folder.file("state");
    const auto never = [](int64_t) -> bool { throw BrokenOff("an iteration"); };
    for (Call call : calls()) {
        SCOPED_TRACE(call.name);
        const KMeansResult expected = call.run(path, false);
        expect_same(call.run("", false), expected);
        expect_same(call.run(path, true, never), expected);
        call.options.niter = 0;
        expect_same(call.run(path, false, never), call.run("", false));
        expect_same(call.run(path, true, never), call.run("", false));
    }
}

TEST(Checkpoint, KeepsTheClocksSeed) {
    const Folder folder;
    Call call = calls()[10];
    call.options.seed = -1;
    call.run(folder.file("state"), false, [](int64_t i) { return i != 3; });
    const KMeansResult result = call.run(folder.file("state"), true);
    call.options.seed = state_in(folder.file("state")).seed;
    expect_same(result, call.run("", false));
}

/// Killed at any moment, the process leaves a complete file, and the next goes on from it.
TEST(Checkpoint, KilledProcessesGoOn) {
    const Folder folder;
    const std::string path = folder.file("state");
    Call call = calls()[8];
    call.options.niter = 250;
    call.options.nredo = 6;
    const KMeansResult expected = call.run("", false);
    std::mt19937 random(9);
    int64_t newest = 0;
    for (int kill_number = 0; kill_number < 20; kill_number++) {
        const pid_t child = fork();
        if (child == 0) {
            call.run(path, true, [](int64_t) { return pause_for(0.5), true; });
            _exit(0);
        }
        const auto end = std::chrono::steady_clock::now() +
                         std::chrono::microseconds(10000 + random() % 50000);
        do {
            if (std::filesystem::exists(path)) {
                const LloydState state = state_in(path); // throws where it is not complete
                const int64_t now = state.redo * call.options.niter + state.iterations;
                EXPECT_GE(now, newest);
                newest = now;
            }
        } while (std::chrono::steady_clock::now() < end);
        ::kill(child, SIGKILL);
        int status = 0;
        ASSERT_EQ(waitpid(child, &status, 0), child);
        ASSERT_TRUE(WIFSIGNALED(status)) << "child " << kill_number << " ended by itself";
    }
    EXPECT_GT(newest, 0);
    std::printf("    %ld iterations before the last run\n", long(newest));
    expect_same(call.run(path, true), expected);
    EXPECT_EQ(folder.files(), std::vector<std::string>{"state"});
}

} // namespace
} // namespace faiss_flash
