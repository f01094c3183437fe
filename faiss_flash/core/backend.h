/// What a backend provides. core's Lloyd loop is written once over this interface.
#pragma once

#include <faiss_flash/core/points.h>
#include <faiss_flash/kmeans.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace faiss_flash {

/// What one assignment + centroid update leaves behind.
struct StepResult {
    double objective = 0;        ///< sum of squared distances or of products
    double search_seconds = 0;   ///< of the assignment alone
    double update_seconds = 0;   ///< of the update
    int64_t redone = 0;          ///< points whose first scores were too close
    int64_t decided = 0;         ///< points decided in float64
    std::vector<int64_t> sizes;  ///< [k] points of each cluster
    std::vector<double> weights; ///< [k] sum of their weights; equals sizes without weights
    std::vector<float> means;    ///< [k x d] weighted means; zeros where the weight is 0
};

/// What becomes of an iteration's means before they are the next one's centroids.
struct CentroidRules {
    int64_t frozen = 0;         ///< the first centroids that keep their values
    bool spherical = false;     ///< scaled to length 1
    bool int_centroids = false; ///< rounded, halves away from zero
};

/// The training points of one clustering.
struct Problem {
    Points points;
    const float* weights = nullptr; ///< [n] or null
};

/// The training points of problems of equal n and d, to be clustered into k clusters each: made
/// ready once and used every iteration.
class LloydSession {
   public:
    virtual ~LloydSession() = default;
    /// For one problem: assigns every point to the best of `centroids` [k x d], sums up the
    /// clusters. The means are the same bits on every backend, for any number of threads.
    virtual void step(const float* centroids, StepResult& result) = 0;

    /// Iterations of one restart from centroids [batch x k x d], which have had the rules: step(),
    /// empty clusters, rules. Here for one problem on the host, one at a time; a device keeps the
    /// centroids and runs ahead.
    virtual void start(const float* centroids, const CentroidRules& rules);
    /// Iterations worth asking for before the first is waited for, less one.
    virtual int lookahead() const { return 0; }
    /// Asks for the next iteration.
    virtual void enqueue();
    /// Waits for the oldest iteration that was asked for; of each problem. Times are left to the
    /// caller but for time_search and time_update, which are this iteration's alone.
    virtual std::vector<IterationStats> wait();
    /// [batch x k x d] after the iteration that was waited for last, or as they were given.
    virtual void read_centroids(float* centroids);

   protected:
    LloydSession(const Points& points, int64_t k) : n_(points.n()), d_(points.d()), k_(k) {}
    const int64_t n_;
    const int64_t d_;
    const int64_t k_;

   private:
    CentroidRules rules_;
    std::vector<float> centroids_;
    StepResult step_;
    IterationStats stats_;
};

/// Of n points in k clusters whose sizes' squares add up to `squares`: k * squares / n^2.
double imbalance_factor(double squares, int64_t n, int64_t k);

/// Gives empty clusters a half of large ones and applies the rules, to centroids [k x d] that hold
/// the means of an iteration (frozen ones their values). Returns the clusters split.
int64_t finish_centroids(
        const CentroidRules& rules,
        int64_t n,
        int64_t k,
        int64_t d,
        std::vector<double>& weights,
        float* centroids);

/// The rules alone.
void apply_rules(const CentroidRules& rules, int64_t k, int64_t d, float* centroids);

/// Points to be assigned, and where the result goes.
struct Assignment {
    Points points;
    const float* centroids;
    int64_t* ids;
    float* distances;
};

/// Coordinates of a point that is not a number or not finite.
struct NonFinite {
    int64_t row;
    int64_t column;
};

/// Problems that a session would run.
struct Workload {
    int64_t batch, n, d, k;
    DType dtype;
    Precision precision;
    bool plain;                            ///< neither weights nor a decoder
    MemorySpace space = MemorySpace::host; ///< where the points are
};

/// A shape that a backend has no way to work on, whatever its memory; the host has.
class Unsupported : public InvalidArgument {
   public:
    using InvalidArgument::InvalidArgument;
};

/// What a session of a workload takes.
struct Expectation {
    int64_t host_bytes = 0;
    int64_t device_bytes = 0;
    double open_seconds = 0;
    double iteration_seconds = 0;
};

/// Thrown by open() where Precision::fast cannot hold the products of the points.
struct BeyondFast {};

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

    /// Problems of equal n and d, which must outlive the session; all values are finite.
    virtual std::unique_ptr<LloydSession> open(
            const std::vector<Problem>& problems,
            int64_t k,
            Metric metric,
            Precision precision) const = 0;

    virtual Expectation expect(const Workload& workload) const = 0;

    /// The same rows of each problem as float32 [count x d]: to out, out + stride, ...
    virtual void read_rows(
            const std::vector<Problem>& problems,
            const int64_t* rows,
            int64_t count,
            float* out,
            int64_t stride) const;

    /// The best centroid of each point, exact; ties to the lowest id. Rows with a NaN or an Inf get
    /// id -1 and distance NaN. distances may be null.
    virtual void assign(
            const Points& points,
            const float* centroids,
            int64_t k,
            Metric metric,
            int64_t* ids,
            float* distances) const = 0;

    /// The same for problems of equal n and d, each with its own centroids [k x d]; distances are
    /// null in all of them or in none.
    virtual void assign_batch(
            const std::vector<Assignment>& problems, int64_t k, Metric metric) const;
};

/// The same session as a loop over one for each problem.
std::unique_ptr<LloydSession> open_each(
        const std::vector<Problem>& problems,
        int64_t k,
        const std::function<std::unique_ptr<LloydSession>(const Problem&)>& open);

/// Every backend of this build that can run on this machine, best first.
const std::vector<const Backend*>& backends();

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
