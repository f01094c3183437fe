/// Which backend "auto" is. Results are the same bits on each, so only time is at stake.
#pragma once

#include <faiss_flash/core/backend.h>

#include <string>

namespace faiss_flash {

/// Weighs what calls would save on a GPU against the first use of one, which takes a while: the
/// calls before count too, as a skier who has rented often enough buys. So small calls alone start
/// no GPU, many of them do, and no run of calls takes more than twice what it had to.
class FirstUse {
   public:
    /// @param seconds  of the first use
    explicit FirstUse(double seconds) : seconds_(seconds) {}
    bool pays(double saved) const { return lost_ + saved >= seconds_; }
    /// A call that would have saved so much did without.
    void lose(double saved) { lost_ += saved; }

   private:
    const double seconds_;
    double lost_ = 0;
};

/// backend_for(), but the one that is through first where both may do it: for "auto", points in the
/// host's memory and Precision::exact. Looks for no GPU where the CPU is through at once.
/// @param workload    all of the call's problems
/// @param iterations  of it
const Backend& expected_backend(
        const VectorView& points,
        const Workload& workload,
        double iterations,
        const std::string& device);

/// The same for a call that runs now.
const Backend& fastest_backend(
        const VectorView& points,
        const Workload& workload,
        double iterations,
        const std::string& device);

/// False where fastest_backend() is backend_for().
bool chooses_by_time(const VectorView& points, Precision precision, const std::string& device);

} // namespace faiss_flash
