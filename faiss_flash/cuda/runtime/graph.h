/// Work of a stream, taken down once and launched as a whole.
#pragma once

#include <faiss_flash/cuda/runtime/check.h>

#include <mutex>
#include <shared_mutex>
#include <utility>

namespace faiss_flash::cuda {

/// While any thread takes down a graph, no other may wait for the whole device: CUDA refuses that,
/// and drops the graph.
std::shared_mutex& capture_mutex();

/// Waits for all work on the current device, whatever stream it is on.
inline void wait_for_device(const char* doing) {
    const std::shared_lock<std::shared_mutex> lock(capture_mutex());
    check(cudaDeviceSynchronize(), doing);
}

class Graph {
   public:
    Graph() = default;
    Graph(Graph&& other) noexcept : graph_(std::exchange(other.graph_, nullptr)) {}
    Graph& operator=(Graph&& other) noexcept {
        std::swap(graph_, other.graph_);
        return *this;
    }
    ~Graph() {
        if (graph_) {
            cudaGraphExecDestroy(graph_);
        }
    }

    /// Takes down what queue() puts into the stream; nothing of it runs yet.
    template <class Queue>
    static Graph capture(cudaStream_t stream, const Queue& queue) {
        const std::unique_lock<std::shared_mutex> lock(capture_mutex());
        check(cudaStreamBeginCapture(stream, cudaStreamCaptureModeRelaxed), "beginning a graph");
        cudaGraph_t captured = nullptr;
        try {
            queue();
        } catch (...) {
            cudaStreamEndCapture(stream, &captured);
            cudaGraphDestroy(captured);
            throw;
        }
        check(cudaStreamEndCapture(stream, &captured), "ending a graph");
        Graph graph;
        const cudaError_t status = cudaGraphInstantiate(&graph.graph_, captured, 0);
        cudaGraphDestroy(captured);
        check(status, "making a graph");
        return graph;
    }

    explicit operator bool() const { return graph_ != nullptr; }
    void launch(cudaStream_t stream) const { check(cudaGraphLaunch(graph_, stream), "a graph"); }

   private:
    cudaGraphExec_t graph_ = nullptr;
};

} // namespace faiss_flash::cuda
