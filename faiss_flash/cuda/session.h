/// Lloyd iterations over points on the device.
#pragma once

#include <faiss_flash/core/backend.h>
#include <faiss_flash/cuda/exact/points.h>
#include <faiss_flash/cuda/runtime/buffer.h>
#include <faiss_flash/cuda/runtime/stream.h>
#include <faiss_flash/cuda/update/finish.h>
#include <faiss_flash/cuda/update/update.h>

#include <array>
#include <cstdint>

namespace faiss_flash::cuda {

/// Iterations are queued on a stream and nothing waits inside one: while the host looks at the
/// statistics of one, the next is running. Only when a cluster came out empty does the host patch
/// the centroids, by FAISS's rule, and ask for the next iteration again.
class CudaSession final : public LloydSession {
   public:
    CudaSession(const Points& points, const float* weights, Metric metric);
    ~CudaSession() override;

    void step(const float* centroids, int64_t k, StepResult& result) override;
    void start(const float* centroids, int64_t k, const CentroidRules& rules) override;
    int lookahead() const override { return 1; }
    void enqueue() override;
    IterationStats wait() override;
    void read_centroids(float* centroids) override;

   private:
    /// What an iteration reads and leaves; two take turns.
    struct Slot {
        Buffer<float> centroids; ///< [k x d] that it starts from
        Buffer<float> means;     ///< [k x d]
        Buffer<int64_t> sizes;   ///< [k]
        Buffer<double> weights;  ///< [k]
        Buffer<ClusterStats> stats;
        ClusterStats* host_stats = nullptr; ///< page-locked
        cudaEvent_t begin{}, assigned{}, end{};
    };

    void make_slots(int64_t k);
    void launch(int64_t iteration);
    /// Runs assignment and update of a slot's centroids.
    void assign_and_update(Slot& slot);
    /// That the assignment took; it must be over.
    static double search_seconds(const Slot& slot);
    void patch(int64_t iteration, IterationStats& stats);
    Slot& slot_of(int64_t iteration) { return slots_[static_cast<size_t>(iteration % 2)]; }

    Stream stream_;
    const Metric metric_;
    DevicePoints points_;
    Buffer<float> weights_;
    CentroidUpdate update_;
    Buffer<int32_t> ids_;
    Buffer<double> values_;
    std::array<Slot, 2> slots_;
    int64_t k_ = 0;
    CentroidRules rules_;
    int64_t asked_ = 0;
    int64_t waited_ = 0;
};

} // namespace faiss_flash::cuda
