/// Linking the library starts nothing: no thread, and a child that is forked off before the first
/// call can use whatever device there is.
#include <faiss_flash/kmeans.h>

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>

namespace faiss_flash {
namespace {

int64_t threads_of_this_process() {
    const std::filesystem::directory_iterator tasks("/proc/self/task");
    return std::distance(begin(tasks), end(tasks));
}

/// 0 where it works; the exit status of a child.
int cluster_something() {
    std::vector<float> x(4000 * 16);
    for (size_t i = 0; i < x.size(); i++) {
        x[i] = static_cast<float>(i * 7919 % 1009);
    }
    KMeansInput input;
    input.points = VectorView::of(x.data(), 4000, 16);
    KMeansOptions options;
    options.niter = 2;
    return kmeans(input, 20, options).iterations.size() == 2 ? 0 : 1;
}

// The only test of its program: nothing has used the library before.
TEST(Lazy, NothingStartsBeforeTheFirstCall) {
    EXPECT_EQ(threads_of_this_process(), 1);
    const pid_t child = fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
        std::_Exit(cluster_something());
    }
    int status = -1;
    ASSERT_EQ(waitpid(child, &status, 0), child);
    EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << status;
    EXPECT_EQ(threads_of_this_process(), 1);
    EXPECT_EQ(cluster_something(), 0);
}

} // namespace
} // namespace faiss_flash
