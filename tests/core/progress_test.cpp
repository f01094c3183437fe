/// Lines about long work, and the threads that do it.
#include <faiss_flash/core/parallel.h>
#include <faiss_flash/core/progress.h>
#include <faiss_flash/kmeans.h>

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <mutex>
#include <set>
#include <stdexcept>
#include <string>
#include <thread>

namespace faiss_flash {
namespace {

/// What is printed of work that is told of every 20 ms.
std::string printed(std::chrono::milliseconds length) {
    testing::internal::CaptureStdout();
    {
        Progress progress("Uploading", 2100000000);
        const auto start = std::chrono::steady_clock::now();
        for (int64_t done = 0; std::chrono::steady_clock::now() - start < length; done += 10) {
            progress.at(done);
            std::this_thread::sleep_for(std::chrono::milliseconds(20));
        }
        progress.at(2100000000);
    }
    return testing::internal::GetCapturedStdout();
}

TEST(Progress, IsPrintedOfLongWorkWhereWanted) {
    const std::chrono::milliseconds long_work(800);
    EXPECT_EQ(printed(long_work), "");
    const ProgressLines lines(true);
    EXPECT_EQ(printed(std::chrono::milliseconds(100)), "");
    EXPECT_EQ(
            printed(long_work),
            "  Uploading:   0 % of 2.1 GB\r"
            "  Uploading: 100 % of 2.1 GB\r\n");
    {
        const ProgressLines none(false);
        EXPECT_EQ(printed(long_work), "");
    }
    std::thread([&] { EXPECT_EQ(printed(long_work), ""); }).join();
}

TEST(Threads, RunTheBodyOnceEach) {
    for (const int64_t most : {1, 2, 100}) {
        std::mutex mutex;
        std::set<int> numbers;
        std::thread::id first;
        on_threads(most, [&](int thread) {
            const std::lock_guard<std::mutex> lock(mutex);
            EXPECT_TRUE(numbers.insert(thread).second) << thread;
            if (thread == 0) {
                first = std::this_thread::get_id();
            }
        });
        EXPECT_EQ(first, std::this_thread::get_id());
        EXPECT_EQ(*numbers.begin(), 0);
        EXPECT_EQ(numbers.size(), static_cast<size_t>(*numbers.rbegin() + 1));
        EXPECT_EQ(static_cast<int64_t>(numbers.size()), std::min<int64_t>(most, num_threads()));
    }
}

TEST(Threads, WhatOneThrowsReachesTheCaller) {
    for (const int64_t most : {1, 2}) {
        const int thrower = std::min<int>(static_cast<int>(most), num_threads()) - 1;
        EXPECT_THROW(
                on_threads(
                        most,
                        [&](int thread) {
                            if (thread == thrower) {
                                throw std::range_error("mine");
                            }
                        }),
                std::range_error);
    }
}

} // namespace
} // namespace faiss_flash
