/// The points of a session on the device: how they are assigned, and where the update finds them.
#pragma once

#include <faiss_flash/core/backend.h>
#include <faiss_flash/cuda/exact/assign.h>
#include <faiss_flash/cuda/update/update.h>

#include <cuda_runtime_api.h>

#include <cstdint>
#include <memory>
#include <vector>

namespace faiss_flash::cuda {

/// Device arrays that an assignment fills.
struct AssignmentArrays {
    int32_t* ids;         ///< [batch x n]
    AssignCounts* counts; ///< [batch] added to
};

/// What adds up to the objective of an assignment.
struct ObjectiveParts {
    const double* parts; ///< [batch x parts_of(n)] (update/reduce.h), on the device
    bool gains;          ///< the update's gains are to be added,
    const float* mean;   ///< [batch x d] of points and centroids less this, or null
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
    /// Of the last assignment.
    virtual ObjectiveParts objective() const = 0;
    /// True where an iteration is short enough to be worth replaying as a graph.
    virtual bool replays() const = 0;
};

/// What suits the problems and the precision asked for. Several problems only where these
/// run_together().
std::unique_ptr<SessionPoints> session_points(
        const std::vector<Problem>& problems,
        int64_t k,
        Metric metric,
        Precision precision,
        cudaStream_t stream);

bool run_together(const std::vector<Problem>& problems, int64_t k, Precision precision);

/// One problem, exact (exact/assign.h). weighted: the update's sums are not those of the points.
std::unique_ptr<SessionPoints> exact_points(
        const Points& points, Metric metric, bool weighted, cudaStream_t stream);

/// Problems of equal n and d, exact, in one kernel (direct/assign.h).
std::unique_ptr<SessionPoints> direct_points(
        const std::vector<Problem>& problems, int64_t k, Metric metric, cudaStream_t stream);

/// True for short rows, without weights, where one kernel for all takes less time than the passes
/// of exact_points() for each.
bool has_direct_points(const std::vector<Problem>& problems, int64_t k);

/// Problems of equal n and d in 16 bits: centroids are rounded, nothing is checked
/// (assign/assign.h). f16 and bf16 rows that lie side by side on the device stay where they are.
std::unique_ptr<SessionPoints> fast_points(
        const std::vector<Problem>& problems, Metric metric, cudaStream_t stream);

/// True for types whose values 16 bits hold exactly.
bool has_fast_points(const std::vector<Problem>& problems);

} // namespace faiss_flash::cuda
