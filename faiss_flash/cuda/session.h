/// Lloyd iterations over points on the device.
#pragma once

#include <faiss_flash/core/backend.h>
#include <faiss_flash/cuda/runtime/buffer.h>
#include <faiss_flash/cuda/runtime/event.h>
#include <faiss_flash/cuda/runtime/graph.h>
#include <faiss_flash/cuda/runtime/pinned.h>
#include <faiss_flash/cuda/runtime/stream.h>
#include <faiss_flash/cuda/session_points.h>
#include <faiss_flash/cuda/update/finish.h>
#include <faiss_flash/cuda/update/update.h>

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

namespace faiss_flash::cuda {

/// Iterations are queued on a stream and nothing waits inside one: while the host looks at the
/// statistics of one, the next is running. Only when a cluster came out empty does the host patch
/// the centroids, by FAISS's rule, and ask for the next iteration again.
class CudaSession final : public LloydSession {
   public:
    /// Several problems only for an assigner that takes them. Throws OutOfDeviceMemory, or
    /// BeyondFast.
    CudaSession(
            Assigner assigner,
            const std::vector<Problem>& problems,
            const Workload& workload,
            Metric metric);
    ~CudaSession() override { cudaStreamSynchronize(stream_.get()); }

    void step(const float* centroids, StepResult& result) override;
    void start(const float* centroids, const CentroidRules& rules) override;
    int lookahead() const override { return 1; }
    void enqueue() override;
    std::vector<IterationStats> wait() override;
    void read_centroids(float* centroids) override;

   private:
    /// What an iteration reads and leaves; two take turns.
    struct Slot {
        Buffer<float> centroids; ///< [batch x k x d] that it starts from
        Buffer<float> means;     ///< [batch x k x d]
        Buffer<int64_t> sizes;   ///< [batch x k]
        Buffer<double> weights;  ///< [batch x k]
        ClusterStats* stats;     ///< [batch]
        Event begin, assigned, end;
        Graph graph;
    };

    void launch(int64_t iteration);
    /// Queues the kernels of an iteration.
    void queue(int64_t iteration);
    IterationStats stats_of(const Slot& slot, int64_t problem) const;
    /// Throws where some point got none: what comes after it means nothing then.
    void require_valid_ids(const Slot& slot) const;
    void patch(int64_t iteration, std::vector<IterationStats>& stats);
    /// Returns the clusters split.
    int64_t patch_problem(int64_t iteration, int64_t problem);
    Slot& slot_of(int64_t iteration) { return slots_[static_cast<size_t>(iteration % 2)]; }
    int64_t values() const { return batch_ * k_ * d_; }

    Stream stream_;
    const int64_t batch_;
    const Metric metric_;
    Arena arena_; ///< of the points
    std::unique_ptr<SessionPoints> points_;
    Buffer<float> weights_;
    std::optional<CentroidUpdate> update_;
    Buffer<int32_t> ids_;
    Buffer<DoubleDouble> squares_; ///< [batch] of the points: l2 without weights
    Buffer<DoubleDouble> gains_;   ///< [batch x k] of the clusters: without weights, else
    Buffer<double> values_;        ///< [n] of the points,
    Buffer<LongSum> value_sum_;    ///< and their sum
    Buffer<IterationCounts> counts_;
    Pinned<ClusterStats> stats_; ///< [2 x batch] of both slots
    std::array<Slot, 2> slots_;
    CentroidRules rules_;
    int64_t asked_ = 0;
    int64_t waited_ = 0;
};

} // namespace faiss_flash::cuda
