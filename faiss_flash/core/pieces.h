/// The pieces of a clustering on one device, put together.
#pragma once

#include <faiss_flash/core/backend.h>
#include <faiss_flash/core/shard.h>

#include <cstdint>
#include <memory>
#include <vector>

namespace faiss_flash {

/// Every call is made on the device, whatever the calling thread's is.
class Pieces {
   public:
    /// The problems' rows in one shard, or in several that end before the rows of `cuts`.
    Pieces(const Backend& backend,
           const std::vector<Problem>& problems,
           const Workload& workload,
           const std::vector<int64_t>& cuts);
    Pieces(const Pieces&) = delete;
    Pieces& operator=(const Pieces&) = delete;
    ~Pieces();

    /// Of the rows of all shards.
    const RowFacts& facts() const { return format_.facts; }

    /// Begins a restart: Centroids::load().
    void load(const Start& start, const CentroidRules& rules);
    /// Asks for the restart's next iteration and, of `most` in all, for those after it that are
    /// worth asking for before it is waited for.
    void ask(int most);
    /// Waits for the next iteration, which has been asked for.
    std::vector<IterationStats> wait();
    /// Centroids::store().
    void store(const std::vector<float*>& to);
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
    void clear();

    const Backend& backend_;
    std::unique_ptr<Worker> worker_;
    std::vector<std::vector<Problem>> parts_; // of the problems, where there are several shards
    std::vector<std::unique_ptr<Shard>> shards_;
    std::vector<int64_t> ends_; // of each shard's rows
    Format format_;
    std::unique_ptr<Reducer> reducer_; // of several shards
    std::unique_ptr<Centroids> centroids_;
    int asked_ = 0; // iterations of a restart
    int waited_ = 0;
};

} // namespace faiss_flash
