#include <faiss_flash/cuda/session_points.h>

namespace faiss_flash::cuda {

std::unique_ptr<SessionPoints> session_points(
        const std::vector<Problem>& problems,
        int64_t k,
        Metric metric,
        Precision precision,
        cudaStream_t stream) {
    const Problem& first = problems.front();
    if (precision == Precision::fast && has_fast_points(problems)) {
        return fast_points(problems, metric, stream);
    }
    if (has_direct_points(problems, k)) {
        return direct_points(problems, k, metric, stream);
    }
    return exact_points(first.points, metric, first.weights != nullptr, stream);
}

bool run_together(const std::vector<Problem>& problems, int64_t k, Precision precision) {
    return (precision == Precision::fast && has_fast_points(problems)) ||
           has_direct_points(problems, k);
}

} // namespace faiss_flash::cuda
