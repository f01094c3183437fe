/// Writes a run's states to a file while the run goes on.
#pragma once

#include <faiss_flash/core/lloyd_state.h>

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <exception>
#include <functional>
#include <mutex>
#include <optional>
#include <string>
#include <thread>

namespace faiss_flash {

/// Whoever reads the file finds a complete state at every moment, the one before or the newest:
/// it is written beside the old one (path + ".part"), which it replaces when it is on the disk. All
/// errors are Errors that name checkpoint=path and say why.
class CheckpointWriter {
   public:
    /// Throws where `path` is no regular file or its folder takes none; writes nothing yet.
    /// @param values  floats of a state, more or less
    CheckpointWriter(std::string path, int64_t values);
    /// What was offered is written.
    ~CheckpointWriter();
    CheckpointWriter(const CheckpointWriter&) = delete;
    CheckpointWriter& operator=(const CheckpointWriter&) = delete;

    /// True where nothing is being written, a hundredth of the run has gone by since the last state
    /// (more often saves little and wears the disk), and one more leaves the caller's time for all
    /// of them below a hundredth of the run. Throws what the writing met.
    bool due();
    /// For when it is due: `fetch` makes the state, in the caller's time.
    void offer(const std::function<LloydState()>& fetch);
    /// Writes the run's last state and waits for it.
    void finish(LloydState state);

   private:
    using Clock = std::chrono::steady_clock;

    void work();
    void rethrow();

    const std::string path_;
    const Clock::time_point start_ = Clock::now();
    Clock::time_point last_ = start_; // state was offered
    double spent_ = 0;                // seconds that the caller has lost
    double next_;                     // that one more state is expected to cost it
    std::mutex mutex_;                // of those below
    std::condition_variable changed_;
    std::optional<LloydState> newest_; // set: not written yet
    std::exception_ptr error_;
    bool ended_ = false;
    std::thread thread_; // last: it uses the others
};

} // namespace faiss_flash
