/// Rows of a shard on the device, and how they are assigned. A new way is a Method, and a folder
/// with an Assigner that make_assigner() knows.
#pragma once

#include <faiss_flash/core/shard.h>
#include <faiss_flash/cuda/device_rows.h>
#include <faiss_flash/cuda/extremes.h>
#include <faiss_flash/cuda/runtime/arena.h>

#include <cuda_runtime_api.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

namespace faiss_flash::cuda {

/// Device arrays that an assignment fills.
struct AssignmentArrays {
    int32_t* ids; ///< [batch x n] of the exact method, -1 for a row with a NaN or an Inf
    /// [batch x n] squared distance or product in float64, NaN where the id is -1; or null. The
    /// exact method's alone.
    double* values;
    IterationCounts* counts; ///< [batch] added to
};

/// Has an arena's memory for the rows and for their assignment.
class Assigner {
   public:
    virtual ~Assigner() = default;
    /// Brings the rows of problems of the shape that it was made for to the device, unless they
    /// stay in place; before anything else. Waits only for the host's own memory to be read.
    virtual void load(const std::vector<Problem>& problems, cudaStream_t stream) = 0;
    virtual DeviceRows rows() const = 0;
    /// Makes the rows ready, whose extremes have been found or will be before on the stream.
    virtual void prepare(const ColumnExtremes& /*extremes*/, cudaStream_t /*stream*/) {}
    /// The rows to the best of centroids [batch x k x d]: all, or of one problem some, as many as
    /// Workload::assigned() at most. The output's are these n.
    virtual void assign(
            const RowRange& rows,
            const float* centroids,
            const AssignmentArrays& output,
            cudaStream_t stream) = 0;
    /// Rows of each problem that the last iteration's first pass has left open, as the host has
    /// seen: what to expect of the next ones.
    virtual void told(const std::vector<int64_t>& /*redone*/) {}
    /// Shard::launches().
    virtual std::optional<Launches> launches() const { return Launches(); }
};

/// The ways to assign rows.
enum class Method : uint8_t {
    exact,  ///< any rows (exact/assign.h), problem after problem
    direct, ///< small problems without weights, exact, in one kernel (direct/assign.h)
    fast    ///< plain rows in 16 bits: centroids are rounded, nothing is checked (assign/assign.h)
};

/// What suits a workload best.
Method method_for(const Workload& workload);

/// The rows' type on the device: their own, but for decoded ones, which are f32, and bytes of the
/// fast method, which are f16.
DType rows_type(Method method, const Workload& workload);

/// True for rows that the method reads where they lie: side by side on the device, problem after
/// problem, in the type and the alignment that it wants.
bool stay_in_place(Method method, const std::vector<Problem>& problems);

/// in_place: what stay_in_place() says of the problems.
std::unique_ptr<Assigner> make_assigner(
        Method method, const Workload& workload, bool in_place, Arena& arena);

std::unique_ptr<Assigner> exact_assigner(const Workload& workload, bool in_place, Arena& arena);

std::unique_ptr<Assigner> fast_assigner(const Workload& workload, bool in_place, Arena& arena);

/// False where products of bf16 rows with so large a coordinate, or with none but tiny ones, may
/// leave float32's range.
bool fast_holds(DType dtype, double largest);

} // namespace faiss_flash::cuda
