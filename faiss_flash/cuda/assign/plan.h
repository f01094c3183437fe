/// Which kernel computes an assignment, and how its work is cut: by a cost model over the shape and
/// what can be read off the device. Plain C++.
#pragma once

#include <faiss_flash/cuda/device_info.h>

#include <cstdint>
#include <vector>

namespace faiss_flash::cuda {

constexpr int64_t ceil_div(int64_t a, int64_t b) {
    return (a + b - 1) / b;
}

enum class AssignKernel : uint8_t {
    narrow,   ///< Hopper, d <= 32
    resident, ///< Hopper, d <= 256: points stay on the multiprocessor
    streamed, ///< Hopper, any d
    onchip,   ///< sm_80 and later, d <= 16, few centroids, rows at multiples of 4 bytes
    generic,  ///< sm_80 and later, any d, any alignment
};

struct AssignPlan {
    AssignKernel kernel = AssignKernel::generic;
    int splits = 1; ///< parts of the centroids that different blocks go over
};

struct AssignShape {
    int64_t batch, n, k, d;
    bool second;        ///< the second best score is wanted
    int alignment;      ///< bytes that every row's start is a multiple of, at most 16
    bool folded = true; ///< d <= 32: the table has folded biases
};

/// Every plan that could run this shape on this device; never empty on sm_80 and later.
std::vector<AssignPlan> assign_plans(const AssignShape& shape, const DeviceInfo& device);

/// What the model expects the plan to take on the device, in seconds.
double expected_seconds(const AssignShape& shape, const AssignPlan& plan, const DeviceInfo& device);

/// The plan of the lowest expected time.
AssignPlan choose_plan(const AssignShape& shape, const DeviceInfo& device);

/// The most that filter_plan() and lists_of() say.
inline constexpr int kMostFilterSplits = 8;
inline constexpr int kMostLists = 2;

/// The plan that lists the candidates of some of n f16 rows. folded: the table has folded biases.
AssignPlan filter_plan(int64_t n, int64_t k, int64_t d, bool folded, const DeviceInfo& device);

/// Lists that a kernel makes of a row (candidate_lists.h).
int lists_of(AssignKernel kernel);

/// Centroid tiles that one part of them has.
int64_t tiles_per_split(int64_t tiles, int splits);

} // namespace faiss_flash::cuda
