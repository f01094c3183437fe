/// The pieces of a clustering on one device, put together.
#pragma once

#include <faiss_flash/core/backend.h>
#include <faiss_flash/core/moving_averages.h>
#include <faiss_flash/core/shard.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

namespace faiss_flash {

/// Every call is made on the device, whatever the calling thread's is.
class Pieces {
   public:
    /// The problems' rows in one shard, or in several that end before the rows of `cuts`.
    /// @param schedule  of e-means, whose iterations are epochs
    Pieces(const Backend& backend,
           const std::vector<Problem>& problems,
           const Workload& workload,
           const std::vector<int64_t>& cuts,
           std::optional<EmeansSchedule> schedule = std::nullopt);
    Pieces(const Pieces&) = delete;
    Pieces& operator=(const Pieces&) = delete;
    ~Pieces();

    /// Of the rows of all shards.
    const RowFacts& facts() const { return format_.facts; }

    /// Begins a restart: Centroids::load().
    /// @param seed  of e-means' batches; so many iterations are over
    void
    load(const Start& start, const CentroidRules& rules, uint64_t seed = 0, int64_t iterations = 0);
    /// Asks for the restart's next iteration and, of `most` in all, for those after it that are
    /// worth asking for before it is waited for.
    void ask(int most);
    /// Waits for the next iteration, which has been asked for.
    std::vector<IterationStats> wait();
    /// Centroids::store().
    void store(const std::vector<float*>& to);
    /// Centroids::averages().
    std::vector<double> averages();
    /// Backend::assign_batch() of all of the problems' points, from where the shards keep them:
    /// nothing is brought to the device again. False, with anything written, where they keep none
    /// or there is no room for it beside them.
    bool assign(const std::vector<Assignment>& problems, int64_t k, Metric metric);

   private:
    void make(
            const std::vector<Problem>& problems,
            const Workload& workload,
            const std::vector<int64_t>& cuts);
    void open(const std::vector<Problem>& problems, int64_t n, const std::vector<int64_t>& cuts);
    Sums add(Sums (Shard::*sums)());
    Centroids::Iteration iteration();
    void ask_for_epoch(int64_t epoch);
    void take(const EmeansBatch& batch);
    void clear();

    const Backend& backend_;
    std::unique_ptr<Worker> worker_;
    std::vector<std::vector<Problem>> parts_; // of the problems, where there are several shards
    std::vector<std::unique_ptr<Shard>> shards_;
    std::vector<int64_t> ends_;  // of each shard's rows
    std::vector<Shard*> active_; // those whose rows are assigned
    Format format_;
    std::unique_ptr<Reducer> reducer_; // of several shards
    std::unique_ptr<Centroids> centroids_;
    const std::optional<EmeansSchedule> schedule_;
    uint64_t seed_ = 0;      // of the batches
    int64_t iterations_ = 0; // before those that are asked for
    int asked_ = 0;          // iterations of a restart
    int waited_ = 0;
};

} // namespace faiss_flash
