#include <faiss_flash/core/parallel.h>

#include <faiss_flash/kmeans.h>

#include <dirent.h>
#include <pthread.h>

#include <string>

namespace faiss_flash {

namespace {

bool has_threads = false;      // before the fork that is under way
bool threads_lost = false;     // in a child: some of its parent's threads are not there
constexpr int kOwnEntries = 3; // of a process with one thread: ".", "..", itself

/// Where it cannot be told, there are some.
bool process_has_threads() {
    DIR* tasks = opendir("/proc/self/task");
    if (!tasks) {
        return true;
    }
    int entries = 0;
    while (entries <= kOwnEntries && readdir(tasks)) {
        entries++;
    }
    closedir(tasks);
    return entries > kOwnEntries;
}

[[maybe_unused]] const int fork_is_watched = pthread_atfork(
        [] { has_threads = process_has_threads(); },
        nullptr,
        [] { threads_lost = threads_lost || has_threads; });

} // namespace

int loop_threads() {
    return threads_lost ? 1 : omp_get_max_threads();
}

int num_threads() {
    return loop_threads();
}

void set_num_threads(int threads) {
    constexpr int kMost = 4096; // OpenMP ends the process where it cannot start as many
    if (threads <= 0 || threads > kMost) {
        throw InvalidArgument(
                "threads=" + std::to_string(threads) + " must be 1 to " + std::to_string(kMost));
    }
    omp_set_num_threads(threads);
}

} // namespace faiss_flash
