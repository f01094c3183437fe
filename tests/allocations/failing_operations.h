/// Each allocation of a call made to fail once, and all from it on: an exception or the result,
/// everything as it was before, nothing lost, and the next call works.
#pragma once

#include <faiss_flash/kmeans.h>

#include <support/failing_allocations.h>

#include <gtest/gtest.h>

#include <functional>
#include <string>
#include <vector>

namespace faiss_flash::test {

/// What a call gives back, whatever its type: a sum of values would hide what changed.
using Outcome = std::vector<double>;

struct Operation {
    std::string name;
    /// Where it throws, it stops the failing and expects everything as before; std::bad_alloc or
    /// OutOfDeviceMemory it is.
    std::function<Outcome()> run;
    std::function<Outcome()> on_host = run; ///< where the device has no room
};

void fail_all(const std::vector<Operation>& operations, Allocated kind);

/// Tests of each kind of allocation; skipped where there is no device.
struct OnDevice : testing::TestWithParam<Allocated> {
    void SetUp() override {
        if (available_backends().front() == "cpu") {
            GTEST_SKIP() << "no CUDA device";
        }
    }
};

inline std::string name_of(const testing::TestParamInfo<Allocated>& tested) {
    const Allocated kind = tested.param;
    return kind == Allocated::host ? "host" : kind == Allocated::device ? "device" : "pinned";
}

} // namespace faiss_flash::test
