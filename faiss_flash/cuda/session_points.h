/// The points of a session on the device: how they are assigned, and where the update finds them.
#pragma once

#include <faiss_flash/core/backend.h>
#include <faiss_flash/cuda/counts.h>
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

class SessionPoints {
   public:
    virtual ~SessionPoints() = default;
    virtual UpdateRows rows() const = 0;
    /// To the best of centroids [batch x k x d]. Nothing waits.
    virtual void assign(
            const float* centroids,
            int64_t k,
            Metric metric,
            const AssignmentArrays& output,
            cudaStream_t stream) = 0;
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

/// Several problems only for the assigners that take them.
std::unique_ptr<SessionPoints> session_points(
        Assigner assigner,
        const std::vector<Problem>& problems,
        int64_t k,
        Metric metric,
        cudaStream_t stream);

/// Bytes of device memory that a session of a workload takes for its points,
int64_t points_bytes(Assigner assigner, const Workload& workload);
/// and for iterations over them, with sums of so many limbs.
int64_t iteration_bytes(Assigner assigner, const Workload& workload, int limbs);
/// What float32 data take as a rule.
inline constexpr int kExpectedLimbs = 2;

/// False where products of bf16 rows with so large a coordinate, or with none but tiny ones, may
/// leave float32's range.
bool fast_holds(DType dtype, double largest);

std::unique_ptr<SessionPoints> exact_points(const Points& points, cudaStream_t stream);

std::unique_ptr<SessionPoints> direct_points(
        const std::vector<Problem>& problems, int64_t k, Metric metric, cudaStream_t stream);

/// f16 and bf16 rows that lie side by side on the device stay where they are.
std::unique_ptr<SessionPoints> fast_points(
        const std::vector<Problem>& problems, cudaStream_t stream);

} // namespace faiss_flash::cuda
