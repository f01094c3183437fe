/// How far long work is, for callers who asked for lines about it (KMeansOptions::verbose).
#pragma once

#include <chrono>
#include <cstdint>

namespace faiss_flash {

/// While one lives, work on this thread may print lines, or not.
class ProgressLines {
   public:
    explicit ProgressLines(bool wanted);
    ~ProgressLines();
    ProgressLines(const ProgressLines&) = delete;
    ProgressLines& operator=(const ProgressLines&) = delete;

   private:
    const bool outer_;
};

/// Work on so many bytes: where it takes longer than half a second, a line that is written over
/// twice a second and ends with the work.
class Progress {
   public:
    /// @param what  what is being done, as "Uploading"; must outlive this
    Progress(const char* what, int64_t bytes);
    ~Progress();
    Progress(const Progress&) = delete;
    Progress& operator=(const Progress&) = delete;

    /// So many bytes are done. Cheap enough for every block of a loop; on the thread that made it.
    void at(int64_t bytes);

   private:
    void print() const;

    const char* const what_;
    const int64_t bytes_;
    int64_t done_ = 0;
    bool printed_ = false;
    std::chrono::steady_clock::time_point last_; // line, or the start
};

} // namespace faiss_flash
