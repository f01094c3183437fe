/// What a backend provides: the pieces of a clustering (shard.h), and single assignments.
#pragma once

#include <faiss_flash/core/points.h>
#include <faiss_flash/core/shard.h>
#include <faiss_flash/kmeans.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace faiss_flash {

/// Points to be assigned, and where the result goes.
struct Assignment {
    Points points;
    const float* centroids;
    int64_t* ids;
    float* distances;
    int64_t memory_limit = 0; ///< KMeansOptions'
};

/// Coordinates of a point that is not a number or not finite.
struct NonFinite {
    int64_t row;
    int64_t column;
};

/// A shape that a backend has no way to work on, whatever its memory; the host has.
class Unsupported : public InvalidArgument {
   public:
    using InvalidArgument::InvalidArgument;
};

/// Centroids that are ready for any number of assignments, from several threads at a time.
class PreparedCentroids {
   public:
    virtual ~PreparedCentroids() = default;
    /// What Backend::assign() does.
    virtual void assign(const Points& points, int64_t* ids, float* distances) const = 0;
};

/// What clustering a workload takes.
struct Expectation {
    int64_t host_bytes = 0;
    int64_t device_bytes = 0;
    double open_seconds = 0;
    double iteration_seconds = 0;
};

/// What works on points. Functions throw Unsupported or OutOfDeviceMemory, with nothing written,
/// where the host must take over (on_backend_or_host()).
class Backend {
   public:
    virtual ~Backend() = default;
    virtual const char* name() const = 0; ///< "cpu", "cuda:0", ...
    /// False where the rows are in memory that it cannot read.
    virtual bool reads(const VectorView& rows) const = 0;
    /// False where the device cannot be used now: taken by another process, or full.
    virtual bool starts() const { return true; }

    /// How many problems of this shape can be open at the same time, at least 1.
    virtual int64_t most_together(const Workload& workload) const;

    /// A NaN or Inf of one of the problems, if any: the first of that problem.
    virtual std::optional<NonFinite> find_non_finite(const std::vector<Points>& problems) const = 0;

    /// True where a shard's scan finds rows with a NaN or an Inf: nobody need look for them before.
    virtual bool scan_checks() const { return false; }

    /// Makes ready for clustering.
    virtual std::unique_ptr<Worker> start(const Workload& workload) const = 0;

    virtual Expectation expect(const Workload& workload) const = 0;

    /// Whether this process has used the device already; of the host, which needs no start, false.
    virtual bool is_started() const { return false; }

    /// About what so many iterations over host points take, by a formula: nothing is tried out and
    /// no device is started. Infinity where it has no way for the shape.
    virtual double seconds(const Workload& workload, double iterations) const = 0;

    /// Rows of the points as float32 [count x d].
    virtual void read_rows(
            const Points& points, const int64_t* rows, int64_t count, float* out) const;

    /// The best centroid of each point, exact; ties to the lowest id. Rows with a NaN or an Inf get
    /// id -1 and distance NaN. distances may be null.
    virtual void assign(
            const Points& points,
            const float* centroids,
            int64_t k,
            Metric metric,
            int64_t* ids,
            float* distances) const = 0;

    /// For assign() to the same centroids [k x d], which must outlive what is returned.
    virtual std::unique_ptr<PreparedCentroids> prepare(
            const float* centroids, int64_t k, int64_t d, Metric metric) const = 0;

    /// The same for problems of equal n and d, each with its own centroids [k x d]; distances are
    /// null in all of them or in none.
    virtual void assign_batch(
            const std::vector<Assignment>& problems, int64_t k, Metric metric) const;
};

/// Every backend of this build that can run on this machine, best first.
const std::vector<const Backend*>& backends();

/// False before backends() was called first: no GPU was looked for.
bool backends_are_known();

/// What "auto" stands for: "auto", or what FAISS_FLASH_DEVICE says, for programs that cannot be
/// changed.
std::string default_device();

/// The CPU's. Asking for it looks for no GPU.
const Backend& host_backend();

/// run(backend) or, where that has no room or no way for it and the host can read the points,
/// run(host_backend()).
template <class Run>
auto on_backend_or_host(const Backend& backend, const VectorView& points, const Run& run)
        -> decltype(run(backend)) {
    const bool host_reads = points.space != MemorySpace::device;
    try {
        return run(backend);
    } catch (const OutOfDeviceMemory&) {
        if (!host_reads) {
            throw;
        }
    } catch (const Unsupported&) {
        if (!host_reads) {
            throw;
        }
    }
    return run(host_backend());
}

/// The backend that `device` names (KMeansOptions::device), or else the best that can read the
/// points. Throws InvalidArgument where there is none.
const Backend& backend_for(const VectorView& points, const std::string& device);

} // namespace faiss_flash
