/// How long work finds out that its caller wants it to stop.
#pragma once

#include <functional>

namespace faiss_flash {

/// While one lives, poll_if_due() on this thread calls `poll`. Every public function that may take
/// long makes one of what its caller gave.
class Polling {
   public:
    /// @param poll  must outlive this; an empty one is never called
    explicit Polling(const std::function<void()>& poll);
    ~Polling();
    Polling(const Polling&) = delete;
    Polling& operator=(const Polling&) = delete;

   private:
    const std::function<void()>* outer_;
};

/// While one lives, poll_if_due() on this thread does nothing: for what must not end half way.
class NoPolling {
   public:
    NoPolling();
    ~NoPolling();
    NoPolling(const NoPolling&) = delete;
    NoPolling& operator=(const NoPolling&) = delete;

   private:
    const std::function<void()>* outer_;
};

/// Calls the poll function of this thread where 50 ms have gone by since the last call. What it
/// throws ends the work. Cheap enough for every block of a loop.
void poll_if_due();

} // namespace faiss_flash
