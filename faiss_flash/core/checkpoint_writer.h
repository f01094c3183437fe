/// Writes a run's states to a file while the run goes on.
#pragma once

#include <faiss_flash/core/lloyd_state.h>

#include <sys/types.h>

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <utility>

namespace faiss_flash {

/// An open file.
class OpenFile {
   public:
    explicit OpenFile(int file = -1) : file_(file) {}
    OpenFile(OpenFile&& other) noexcept : file_(std::exchange(other.file_, -1)) {}
    OpenFile& operator=(OpenFile&& other) noexcept {
        std::swap(file_, other.file_);
        return *this;
    }
    ~OpenFile();
    int get() const { return file_; }

   private:
    int file_;
};

/// Whoever reads the file finds a complete state at every moment, the one before or the newest:
/// it is written beside the old one (path + ".part"), which it replaces when it is on the disk.
/// One of both is locked at any time: another run on the same path is refused. Errors are
/// Errors that name checkpoint=path and say why; later than in the constructor they are told on
/// stderr, once, and the next state is tried again: no run is lost for its checkpoint.
class CheckpointWriter {
   public:
    /// Throws where `path` is no regular file, is not empty and no checkpoint, belongs to another
    /// run, or its folder takes none; writes nothing yet.
    /// @param path    absolute: the run may go to another folder
    /// @param values  floats of a state, more or less
    CheckpointWriter(std::string path, int64_t values);
    /// What was offered is written.
    ~CheckpointWriter();
    CheckpointWriter(const CheckpointWriter&) = delete;
    CheckpointWriter& operator=(const CheckpointWriter&) = delete;

    /// True where nothing is being written, a hundredth of the run or a minute has gone by since
    /// the last state (more often saves little and wears the disk), and one more leaves the time of
    /// all of them, the caller's and the thread's, below a hundredth of the run.
    bool due();
    /// For when it is due: `fetch` makes the state, in the caller's time.
    void offer(const std::function<LloydState()>& fetch);
    /// Writes the run's last state and waits for it.
    void finish(LloydState state);

   private:
    using Clock = std::chrono::steady_clock;

    class PartFile;

    void work();

    const std::string path_;
    const pid_t process_; // a child that was forked off has no thread of it
    const Clock::time_point start_ = Clock::now();
    Clock::time_point last_ = start_; // state was offered
    double spent_ = 0;                // seconds that the caller has lost
    OpenFile current_;                // with the lock: the file at `path`, if there is one
    std::unique_ptr<PartFile> part_;  // of the first state, before there is one
    std::mutex mutex_;                // of those below
    std::condition_variable changed_;
    std::optional<LloydState> newest_; // set: not written yet
    double next_;                      // seconds that one more state is expected to cost
    double written_ = 0;               // seconds that the thread has worked
    bool told_ = false;                // of an error
    bool ended_ = false;
    std::thread thread_; // last: it uses the others
};

} // namespace faiss_flash
