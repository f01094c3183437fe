/// Putting things back when something fails half way.
#pragma once

#include <functional>
#include <utility>
#include <vector>

namespace faiss_flash {

/// What was given to one is put back at the end of its life, last thing first, unless commit() came
/// before.
class Undo {
   public:
    Undo() = default;
    ~Undo() {
        while (!steps_.empty()) {
            try {
                steps_.back()();
            } catch (...) { // out of memory, as a rule: the other steps may still do their part
            }
            steps_.pop_back();
        }
    }
    Undo(const Undo&) = delete;
    Undo& operator=(const Undo&) = delete;

    void at_end(std::function<void()> step) { steps_.push_back(std::move(step)); }

    /// The value will be what it is now.
    template <class T>
    void keep(T& value) {
        at_end([&value, before = value]() mutable { value = std::move(before); });
    }

    void commit() { steps_.clear(); }

   private:
    std::vector<std::function<void()>> steps_;
};

} // namespace faiss_flash
