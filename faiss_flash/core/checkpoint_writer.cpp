#include <faiss_flash/core/checkpoint_writer.h>

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <ctime>
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

/// Throws where another run has the file. File systems without locks let it pass.
void lock_file(const OpenFile& file, const std::string& path) {
    if (flock(file.get(), LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK) {
        throw Error("checkpoint=" + path + ": another run is writing it");
    }
}

/// Throws where the file, of this name, is somebody else's.
void require_ours(const OpenFile& file, const std::string& name, const std::string& path) {
    struct stat found {};
    if (fstat(file.get(), &found) == 0 && !S_ISREG(found.st_mode)) {
        throw Error("checkpoint=" + path + ": " + name + " is not a regular file");
    }
    uint64_t magic = 0;
    const ssize_t bytes = pread(file.get(), &magic, sizeof magic, 0);
    if (bytes != 0 && (bytes != sizeof magic || magic != kStateMagic)) {
        throw Error(
                "checkpoint=" + path + ": " + name +
                " is not a checkpoint of faiss_flash, and is not replaced");
    }
}

/// The file at `path`, locked; none where there is none.
OpenFile open_current(const std::string& path) {
    OpenFile file(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
    if (file.get() < 0) {
        if (errno != ENOENT) {
            fail(path, "cannot read it");
        }
        return file;
    }
    require_ours(file, path, path);
    lock_file(file, path);
    return file;
}

} // namespace

/// Bytes to a file of its own, which is removed unless it is moved to its place.
class CheckpointWriter::PartFile final : public std::streambuf {
   public:
    explicit PartFile(const std::string& path)
        : path_(path),
          part_(path + ".part"),
          file_(open(part_.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0666)) {
        if (file_.get() < 0) {
            fail(path_, "cannot write " + part_);
        }
        lock_file(file_, path_); // before anything in it is lost
        require_ours(file_, part_, path_);
        struct stat older {};
        const bool keeps = stat(path_.c_str(), &older) == 0;
        if (ftruncate(file_.get(), 0) != 0 ||
            (keeps && fchmod(file_.get(), older.st_mode & 0777) != 0)) {
            fail(path_, "cannot write " + part_);
        }
        setp(buffer_.data(), buffer_.data() + buffer_.size());
    }
    ~PartFile() override {
        if (!moved_) {
            unlink(part_.c_str());
        }
    }

    /// Puts the file in the place of an older one, for good: also if the machine fails next.
    OpenFile move_to_its_place() {
        flush();
        if (fsync(file_.get()) != 0) {
            fail(path_, "cannot write " + part_);
        }
        if (rename(part_.c_str(), path_.c_str()) != 0) {
            fail(path_, "cannot replace it");
        }
        moved_ = true;
        sync_folder();
        return std::move(file_);
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
            const ssize_t written = write(file_.get(), data, count);
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
        const OpenFile file(open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
        if (file.get() < 0) {
            fail(path_, "cannot open its folder");
        }
        if (fsync(file.get()) != 0 && errno != EINVAL) { // some file systems have no such
            fail(path_, "cannot write its folder");
        }
    }

    const std::string& path_;
    const std::string part_;
    OpenFile file_;
    bool moved_ = false;
    std::array<char, 1 << 14> buffer_;
};

namespace {

double thread_seconds() {
    timespec now{};
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

double seconds_between(
        std::chrono::steady_clock::time_point from, std::chrono::steady_clock::time_point to) {
    return std::chrono::duration<double>(to - from).count();
}

} // namespace

OpenFile::~OpenFile() {
    if (file_ >= 0) {
        close(file_);
    }
}

CheckpointWriter::CheckpointWriter(std::string path, int64_t values)
    : path_(std::move(path)),
      process_(getpid()),
      current_(open_current(path_)),
      part_(std::make_unique<PartFile>(path_)),
      next_(static_cast<double>(values) * sizeof(float) / 1e9) {
    try {
        thread_ = std::thread([this] { work(); });
    } catch (const std::system_error& error) {
        throw Error("checkpoint=" + path_ + ": no thread to write it: " + error.code().message());
    }
}

CheckpointWriter::~CheckpointWriter() {
    if (getpid() != process_) {
        thread_.detach();
        return;
    }
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
    constexpr double kLongest = 60;
    const Clock::time_point now = Clock::now();
    const double allowed = kShare * seconds_between(start_, now);
    if (seconds_between(last_, now) < std::clamp(allowed, kShortest, kLongest)) {
        return false;
    }
    const std::lock_guard<std::mutex> lock(mutex_);
    return !newest_ && spent_ + written_ + next_ <= allowed;
}

void CheckpointWriter::offer(const std::function<LloydState()>& fetch) {
    last_ = Clock::now();
    LloydState state = fetch();
    const double seconds = seconds_between(last_, Clock::now());
    spent_ += seconds;
    {
        const std::lock_guard<std::mutex> lock(mutex_);
        newest_ = std::move(state);
        next_ = seconds; // and the thread's, when it has been
    }
    changed_.notify_all();
}

void CheckpointWriter::finish(LloydState state) {
    std::unique_lock<std::mutex> lock(mutex_);
    changed_.wait(lock, [this] { return !newest_; });
    newest_ = std::move(state);
    changed_.notify_all();
    changed_.wait(lock, [this] { return !newest_; });
}

void CheckpointWriter::work() {
    std::unique_lock<std::mutex> lock(mutex_);
    while (true) {
        changed_.wait(lock, [this] { return newest_ || ended_; });
        if (!newest_) {
            return;
        }
        lock.unlock(); // newest_ stays as it is while it is set
        const double before = thread_seconds();
        try {
            if (!part_) {
                part_ = std::make_unique<PartFile>(path_);
            }
            std::ostream out(part_.get());
            out.exceptions(std::ios::badbit); // what PartFile throws gets through
            write_state(*newest_, out);
            current_ = part_->move_to_its_place();
        } catch (const std::exception& error) {
            if (!std::exchange(told_, true)) {
                std::fprintf(stderr, "WARNING %s; the run goes on\n", error.what());
            }
        }
        part_.reset();
        const double seconds = thread_seconds() - before;
        lock.lock();
        written_ += seconds;
        next_ += seconds;
        newest_.reset();
        changed_.notify_all();
    }
}

} // namespace faiss_flash
