#include <faiss_flash/core/interrupt.h>

#include <chrono>
#include <utility>

namespace faiss_flash {

namespace {

using Clock = std::chrono::steady_clock;

thread_local const std::function<void()>* current_poll = nullptr;
thread_local Clock::time_point last_poll;

} // namespace

Polling::Polling(const std::function<void()>& poll) : outer_(current_poll) {
    if (poll) { // else what the caller's caller gave
        current_poll = &poll;
        last_poll = Clock::now();
    }
}

Polling::~Polling() {
    current_poll = outer_;
}

NoPolling::NoPolling() : outer_(std::exchange(current_poll, nullptr)) {}

NoPolling::~NoPolling() {
    current_poll = outer_;
}

void poll_if_due() {
    constexpr std::chrono::milliseconds kInterval(50);
    if (current_poll && Clock::now() - last_poll >= kInterval) {
        last_poll = Clock::now();
        (*current_poll)();
    }
}

} // namespace faiss_flash
