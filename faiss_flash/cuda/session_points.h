/// The points of a session on the device: how they are assigned, and where the update finds them.
#pragma once

#include <faiss_flash/core/backend.h>
#include <faiss_flash/cuda/counts.h>
#include <faiss_flash/cuda/runtime/arena.h>
#include <faiss_flash/cuda/update/update.h>

#include <cuda_runtime_api.h>

#include <cstdint>
#include <memory>
#include <vector>

namespace faiss_flash::cuda {

/// Device arrays that an assignment fills.
struct AssignmentArrays {
    int32_t* ids;            ///< [batch x n]
    double* values;          ///< [n] as ExactOutput's, or null: all but the exact assigner
    IterationCounts* counts; ///< [batch] added to
};

/// Has an arena's memory for the points and for their assignment.
class SessionPoints {
   public:
    virtual ~SessionPoints() = default;
    /// Brings the rows of problems of the shape that it was made for to the device, and makes them
    /// ready; before anything else. Waits only for the host's own memory to be read.
    virtual void load(const std::vector<Problem>& problems, cudaStream_t stream) = 0;
    virtual UpdateRows rows() const = 0;
    /// To the best of centroids [batch x k x d].
    virtual void assign(
            const float* centroids, const AssignmentArrays& output, cudaStream_t stream) = 0;
    /// Of the last iteration that the host has seen: what to expect of the next ones.
    virtual void told(const IterationStats& /*stats*/) {}
    /// True where an iteration is short enough to be worth replaying as a graph.
    virtual bool replays() const = 0;
};

/// How points are assigned.
enum class Assigner : uint8_t {
    exact,  ///< one problem (exact/assign.h)
    direct, ///< short rows without weights: problems of equal n and d, exact, in one kernel
            ///< (direct/assign.h)
    fast    ///< plain rows in 16 bits, of problems of equal n and d: centroids are rounded, nothing
            ///< is checked (assign/assign.h)
};

/// What suits a workload best.
Assigner assigner_for(const Workload& workload);

/// True for f16 and bf16 rows that lie side by side on the device: the fast assigner leaves them
/// where they are.
bool stay_in_place(const std::vector<Problem>& problems);

/// Several problems only for the assigners that take them; the exact one leaves batch aside.
/// in_place: of the fast one, what stay_in_place() says of the problems.
std::unique_ptr<SessionPoints> session_points(
        Assigner assigner, const Workload& workload, Metric metric, bool in_place, Arena& arena);

/// Bytes of device memory that sessions of a workload take for points and their assignment,
int64_t points_bytes(Assigner assigner, const Workload& workload);
/// and for the rest of an iteration, with sums of so many limbs.
int64_t iteration_bytes(const Workload& workload, int limbs);
/// What float32 data take as a rule.
inline constexpr int kExpectedLimbs = 2;

/// False where products of bf16 rows with so large a coordinate, or with none but tiny ones, may
/// leave float32's range.
bool fast_holds(DType dtype, double largest);

std::unique_ptr<SessionPoints> exact_points(const Workload& workload, Metric metric, Arena& arena);

std::unique_ptr<SessionPoints> fast_points(
        const Workload& workload, Metric metric, bool in_place, Arena& arena);

} // namespace faiss_flash::cuda
