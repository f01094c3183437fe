/// An OpenBLAS with threads of its own, as far as the engine knows it: this program has its
/// functions, which the library's own stand behind.
#include <faiss_flash/core/linear_algebra.h>

#include <gtest/gtest.h>

#include <atomic>
#include <thread>
#include <vector>

namespace {

std::atomic<int> threads{8};

} // namespace

extern "C" {
int openblas_get_parallel() {
    constexpr int kOwnThreads = 1;
    return kOwnThreads;
}
int openblas_get_num_threads() {
    return threads;
}
void openblas_set_num_threads(int number) {
    threads = number;
}
}

namespace faiss_flash {
namespace {

TEST(BlasThreads, AreGivenBackByTheLastUser) {
    auto* first = new SingleThreadedBlas;
    EXPECT_EQ(threads, 1);
    auto* second = new SingleThreadedBlas;
    delete first; // the second found one thread: that is not what was there before
    EXPECT_EQ(threads, 1);
    delete second;
    EXPECT_EQ(threads, 8);
}

TEST(BlasThreads, AreGivenBackByManyAtOnce) {
    std::vector<std::thread> users;
    for (int i = 0; i < 4; i++) {
        users.emplace_back([] {
            for (int turn = 0; turn < 2000; turn++) {
                const SingleThreadedBlas single;
                EXPECT_EQ(threads, 1);
            }
        });
    }
    for (std::thread& user : users) {
        user.join();
    }
    EXPECT_EQ(threads, 8);
}

} // namespace
} // namespace faiss_flash
