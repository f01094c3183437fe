/// The pieces of a clustering. core's Lloyd loop (lloyd.cpp) is written once over them.
///
/// A Worker is one device's part: it opens the shards whose rows the device works on, and keeps the
/// table of centroids that they read. Every iteration a shard assigns its rows and adds them up in
/// integers; a Reducer adds the shards' sums; the centroids become their means. As integers add up
/// to the same bits in any order, so do centroids and objectives: on any backend, for any partition
/// of the rows. Of e-means an iteration is an epoch, which does the same batch by batch, with
/// moving averages for the means.
#pragma once

#include <faiss_flash/core/format.h>
#include <faiss_flash/core/moving_averages.h>
#include <faiss_flash/core/objective.h>
#include <faiss_flash/core/points.h>
#include <faiss_flash/core/rules.h>
#include <faiss_flash/kmeans.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <vector>

namespace faiss_flash {

/// The training points of one clustering, or a shard's part of them.
struct Problem {
    Points points;
    const float* weights = nullptr; ///< [n] or null
};

/// What an iteration counts, of one problem.
struct IterationCounts {
    int64_t redone;  ///< points that the first pass of the exact assignment has not settled
    int64_t decided; ///< points decided in float64
    int64_t invalid; ///< points whose id is not a centroid's
};

/// Integers of a shard's rows, in memory of its device. Those of all shards add up element by
/// element.
struct Sums {
    int64_t* data;
    int64_t count;
    int64_t kept; ///< the first so many, that the shard goes on from; who reads others clears them
};

/// Where an iteration's sums lie.
struct SumsLayout {
    int64_t batch, k;
    int64_t row;   ///< integers of a cluster: limbs times columns, the weights' last
    bool weighted; ///< a LongSum of the rows' values is at the end

    int64_t sizes() const { return batch * k * row; }      ///< [batch x k] after [batch x k x row]
    int64_t counts() const { return sizes() + batch * k; } ///< [batch] IterationCounts
    int64_t values() const { return counts() + batch * kCounts; }
    int64_t count() const { return values() + (weighted ? LongSum::kBins : 0); }

   private:
    static constexpr int64_t kCounts = sizeof(IterationCounts) / sizeof(int64_t);
};

/// What a restart begins with.
struct Start {
    const float*
            given; ///< [batch x count x d] in the host's memory: each problem's first centroids
    int64_t count; ///< of one problem
    bool ruled;    ///< they have had the rules
    std::vector<int64_t> rows; ///< [k - count] of each problem: the points that the others begin as
    /// E-means: the averages [k x (d + 1)] to go on from, each cluster's usage after its sums;
    /// null: those of the centroids.
    const double* averages = nullptr;
};

/// A row of a shard that a centroid begins as.
struct Seed {
    int64_t row;
    int64_t centroid;
};

/// Numbers that queued work depends on.
using Launches = std::vector<int64_t>;

/// Some rows of each problem, on a device.
class Shard {
   public:
    virtual ~Shard() = default;
    /// One pass over the rows; where Backend::scan_checks(), it finds those with a NaN or an Inf.
    virtual RowFacts scan() = 0;
    /// Takes all the memory that iterations need. Throws BeyondFast.
    virtual void prepare(const Format& format) = 0;
    /// [batch x square_limbs x d] squares of the rows, in format.squares.
    virtual Sums squares() = 0;

    /// Writes rows of each problem to centroids [batch x k x d], in the device's memory. May be
    /// queued.
    virtual void seed(const std::vector<Seed>& seeds, float* centroids) = 0;
    /// The rows that assign() and sum() are about from now on, where not all: at most
    /// Workload::batch_rows.
    virtual void take(int64_t first, int64_t count) = 0;
    /// Finds every row's best of centroids [batch x k x d], in the device's memory. May be queued.
    virtual void assign(const float* centroids) = 0;
    /// Adds up the rows of each cluster, as assign() has found them. May be queued.
    virtual Sums sum() = 0;
    /// The rows of each problem as they lie in the device's memory, for Backend::assign_batch(), as
    /// long as the shard lives. None where they are read from the problems' own memory.
    virtual std::vector<Points> rows() const { return {}; }
    /// Of each problem's last iteration that the host has seen, over all shards: what to expect of
    /// the next ones.
    virtual void told(const std::vector<IterationStats>& /*stats*/) {}
    /// Describes what assign() and sum() would queue now: of two iterations with equal
    /// descriptions, one may be taken down and replayed for the other. None: they wait for the
    /// device.
    virtual std::optional<Launches> launches() const { return std::nullopt; }
};

/// The centroids of all problems on one device, and what an iteration makes of them.
class Centroids {
   public:
    virtual ~Centroids() = default;
    /// Begins a restart. seed(centroids) is Shard::seed() of all shards, by start.rows.
    virtual void load(
            const Start& start,
            const CentroidRules& rules,
            const std::function<void(float* centroids)>& seed) = 0;
    /// Iterations worth asking for before the first is waited for, less one.
    virtual int lookahead() const { return 0; }

    struct Iteration {
        std::function<void(const float* centroids)> assign; ///< Shard::assign() of all shards
        std::function<Sums()> sum;                          ///< the sum of theirs
        std::optional<Launches> launches;                   ///< Shard::launches() of all of them
        EmeansBatch batch{};                                ///< of e-means
    };
    /// Runs the next iteration, or queues it; a batch of it.
    virtual void iterate(const Iteration& iteration) = 0;

    struct Outcome {
        std::vector<IterationStats> stats; ///< [batch]; of times only time_search and time_update
        bool again; ///< iterations asked for after this one began with other centroids: ask again
    };
    /// Waits for the oldest iteration that was asked for.
    virtual Outcome wait() = 0;
    /// After the iteration that was waited for last, or as they were loaded.
    /// @param to  of each problem, where its [k x d] go; null: they are not asked for
    virtual void store(const std::vector<float*>& to) = 0;
    /// Start::averages of then; of others than e-means none.
    virtual std::vector<double> averages() { return {}; }
};

/// Adds the sums of shards: of one device, or of several.
class Reducer {
   public:
    virtual ~Reducer() = default;
    /// All parts have equal counts. The result may lie in memory of the reducer, or be queued.
    virtual Sums add(const std::vector<Sums>& parts) = 0;
};

/// One device's part in a clustering. What it makes must go before it.
class Worker {
   public:
    virtual ~Worker() = default;
    /// While one lives, the calling thread works on the worker's device.
    class Here {
       public:
        explicit Here(const Worker& worker) : worker_(worker), before_(worker.enter()) {}
        Here(const Here&) = delete;
        Here& operator=(const Here&) = delete;
        ~Here() { worker_.leave(before_); }

       private:
        const Worker& worker_;
        const int before_;
    };

    /// Rows of each problem, finite and as many of each; they and their weights must outlive it.
    virtual std::unique_ptr<Shard> open(const std::vector<Problem>& problems) = 0;
    /// Of a workload with batches: moving averages. squares: of all rows, where the format has
    /// them.
    virtual std::unique_ptr<Centroids> centroids(const Format& format, const Sums* squares) = 0;
    /// Of the shards that it has opened.
    virtual std::unique_ptr<Reducer> reducer(const Format& format) = 0;
    /// Bytes of the memory limit that all that it has made leaves to Backend::assign_batch() of
    /// Shard::rows(), 0: there is no limit; none: too few.
    virtual std::optional<int64_t> limit_beside() const { return 0; }

   private:
    /// Returns where the thread was, for leave().
    virtual int enter() const { return 0; }
    virtual void leave(int /*before*/) const noexcept {}
};

/// Thrown where a scan has found a row with a NaN or an Inf.
struct NonFiniteRows {};

/// Thrown by Shard::prepare() where Precision::fast cannot hold the products of the points.
struct BeyondFast {};

} // namespace faiss_flash
