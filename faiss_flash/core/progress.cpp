#include <faiss_flash/core/progress.h>

#include <cstdio>

namespace faiss_flash {

namespace {

using Clock = std::chrono::steady_clock;

thread_local bool lines_wanted = false;

} // namespace

ProgressLines::ProgressLines(bool wanted) : outer_(lines_wanted) {
    lines_wanted = wanted;
}

ProgressLines::~ProgressLines() {
    lines_wanted = outer_;
}

Progress::Progress(const char* what, int64_t bytes)
    : what_(what), bytes_(bytes), last_(Clock::now()) {}

Progress::~Progress() {
    if (printed_) {
        print();
        std::printf("\n");
        std::fflush(stdout);
    }
}

void Progress::at(int64_t bytes) {
    constexpr std::chrono::milliseconds kInterval(500);
    done_ = bytes;
    if (!lines_wanted) {
        return;
    }
    const Clock::time_point now = Clock::now();
    if (now - last_ >= kInterval) {
        last_ = now;
        printed_ = true;
        print();
        std::fflush(stdout);
    }
}

/// As wide as the line it is written over.
void Progress::print() const {
    const double all = static_cast<double>(bytes_);
    const double percent = bytes_ > 0 ? 100 * static_cast<double>(done_) / all : 100;
    std::printf("  %s: %3d %% of %.3g GB\r", what_, static_cast<int>(percent), all * 1e-9);
}

} // namespace faiss_flash
