#include <faiss_flash/cuda/direct/session_points.h>

#include <faiss_flash/cuda/rows.h>

namespace faiss_flash::cuda {

DirectPoints::DirectPoints(
        int64_t batch, int64_t n, int64_t k, int64_t d, Metric metric, Arena& arena)
    : batch_(batch),
      n_(n),
      d_(d),
      rows_(arena.take<float>(batch * n * d)),
      scaling_(batch, d, arena),
      table_(batch, k, d, metric, arena) {}

void DirectPoints::load(const std::vector<Problem>& problems, cudaStream_t stream) {
    std::vector<Points> points;
    points.reserve(problems.size());
    for (const Problem& problem : problems) {
        points.push_back(problem.points);
    }
    load_batch(points, rows_, stream);
    scaling_.find(rows_, n_, values_of(points.front()), stream);
}

void DirectPoints::assign(
        const float* centroids, const AssignmentArrays& output, cudaStream_t stream) {
    assign_direct(rows_, n_, scaling_, centroids, table_, output.ids, output.counts, stream);
}

} // namespace faiss_flash::cuda
