#include <faiss_flash/core/checkpoint_writer.h>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <ostream>
#include <streambuf>
#include <system_error>
#include <utility>

namespace faiss_flash {

namespace {

/// @param what  that could not be done, as errno says why
[[noreturn]] void fail(const std::string& path, const std::string& what) {
    const int reason = errno;
    throw Error(
            "checkpoint=" + path + ": " + what + ": " + std::generic_category().message(reason));
}

/// Bytes to a file of its own, which is removed unless it is moved to its place.
class PartFile final : public std::streambuf {
   public:
    explicit PartFile(const std::string& path)
        : path_(path),
          part_(path + ".part"),
          file_(open(part_.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666)) {
        if (file_ < 0) {
            fail(path_, "cannot write " + part_);
        }
        setp(buffer_.data(), buffer_.data() + buffer_.size());
    }
    ~PartFile() override {
        if (file_ >= 0) {
            close(file_);
        }
        if (!moved_) {
            unlink(part_.c_str());
        }
    }

    /// Puts the file in the place of an older one, for good: also if the machine fails next.
    void move_to_its_place() {
        flush();
        if (fsync(file_) != 0) {
            fail(path_, "cannot write " + part_);
        }
        if (close(std::exchange(file_, -1)) != 0) {
            fail(path_, "cannot write " + part_);
        }
        if (rename(part_.c_str(), path_.c_str()) != 0) {
            fail(path_, "cannot replace it");
        }
        moved_ = true;
        sync_folder();
    }

   protected:
    int_type overflow(int_type next) override {
        flush();
        return traits_type::eq_int_type(next, traits_type::eof()) ? traits_type::not_eof(next)
                                                                  : sputc(static_cast<char>(next));
    }
    std::streamsize xsputn(const char* data, std::streamsize count) override {
        if (count > epptr() - pptr()) {
            flush();
        }
        if (count > epptr() - pptr()) {
            write_all(data, static_cast<size_t>(count));
            return count;
        }
        return std::streambuf::xsputn(data, count);
    }

   private:
    void flush() {
        write_all(pbase(), static_cast<size_t>(pptr() - pbase()));
        setp(buffer_.data(), buffer_.data() + buffer_.size());
    }
    void write_all(const char* data, size_t count) {
        while (count > 0) {
            const ssize_t written = write(file_, data, count);
            if (written < 0 && errno != EINTR) {
                fail(path_, "cannot write " + part_);
            }
            if (written > 0) {
                data += written;
                count -= static_cast<size_t>(written);
            }
        }
    }
    /// The name is the folder's: it is on the disk when the folder is.
    void sync_folder() const {
        const size_t slash = path_.rfind('/');
        const std::string folder = slash == std::string::npos ? "." : path_.substr(0, slash + 1);
        const int file = open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (file < 0) {
            fail(path_, "cannot open its folder");
        }
        const bool synced = fsync(file) == 0 || errno == EINVAL; // some file systems have no such
        const int reason = errno;
        close(file);
        if (!synced) {
            errno = reason;
            fail(path_, "cannot write its folder");
        }
    }

    const std::string& path_;
    const std::string part_;
    int file_;
    bool moved_ = false;
    std::array<char, 1 << 14> buffer_;
};

void write_file(const std::string& path, const LloydState& state) {
    PartFile file(path);
    std::ostream out(&file);
    out.exceptions(std::ios::badbit); // what PartFile throws gets through
    write_state(state, out);
    file.move_to_its_place();
}

double seconds_between(
        std::chrono::steady_clock::time_point from, std::chrono::steady_clock::time_point to) {
    return std::chrono::duration<double>(to - from).count();
}

} // namespace

CheckpointWriter::CheckpointWriter(std::string path, int64_t values)
    : path_(std::move(path)), next_(static_cast<double>(values) * sizeof(float) / 1e9) {
    struct stat found {};
    if (stat(path_.c_str(), &found) == 0 && !S_ISREG(found.st_mode)) {
        throw Error("checkpoint=" + path_ + ": not a regular file");
    }
    { const PartFile can_be_made(path_); } // or throws
    try {
        thread_ = std::thread([this] { work(); });
    } catch (const std::system_error& error) {
        throw Error("checkpoint=" + path_ + ": no thread to write it: " + error.code().message());
    }
}

CheckpointWriter::~CheckpointWriter() {
    {
        const std::lock_guard<std::mutex> lock(mutex_);
        ended_ = true;
    }
    changed_.notify_all();
    thread_.join();
}

bool CheckpointWriter::due() {
    constexpr double kShare = 0.01;
    constexpr double kShortest = 0.01; // seconds from state to state
    const Clock::time_point now = Clock::now();
    const double allowed = kShare * seconds_between(start_, now);
    if (spent_ + next_ > allowed || seconds_between(last_, now) < std::max(allowed, kShortest)) {
        return false;
    }
    const std::lock_guard<std::mutex> lock(mutex_);
    rethrow();
    return !newest_;
}

void CheckpointWriter::offer(const std::function<LloydState()>& fetch) {
    last_ = Clock::now();
    LloydState state = fetch();
    {
        const std::lock_guard<std::mutex> lock(mutex_);
        newest_ = std::move(state);
    }
    changed_.notify_all();
    next_ = seconds_between(last_, Clock::now());
    spent_ += next_;
}

void CheckpointWriter::finish(LloydState state) {
    std::unique_lock<std::mutex> lock(mutex_);
    changed_.wait(lock, [this] { return !newest_; });
    rethrow();
    newest_ = std::move(state);
    changed_.notify_all();
    changed_.wait(lock, [this] { return !newest_; });
    rethrow();
}

void CheckpointWriter::rethrow() {
    if (error_) {
        std::rethrow_exception(error_);
    }
}

void CheckpointWriter::work() {
    std::unique_lock<std::mutex> lock(mutex_);
    while (true) {
        changed_.wait(lock, [this] { return newest_ || ended_; });
        if (!newest_) {
            return;
        }
        lock.unlock(); // newest_ stays as it is while it is set
        std::exception_ptr error;
        try {
            write_file(path_, *newest_);
        } catch (...) {
            error = std::current_exception();
        }
        lock.lock();
        newest_.reset();
        error_ = error_ ? error_ : error;
        changed_.notify_all();
    }
}

} // namespace faiss_flash
