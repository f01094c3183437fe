#include <faiss_flash/cuda/direct/assigner.h>

#include <faiss_flash/cuda/rows.h>

namespace faiss_flash::cuda {

DirectAssigner::DirectAssigner(const Workload& workload, Arena& arena)
    : batch_(workload.batch),
      n_(workload.n),
      d_(workload.d),
      rows_(arena.take<float>(batch_ * n_ * d_)),
      scaling_(batch_, d_, arena),
      table_(batch_, workload.k, d_, workload.metric, arena) {}

void DirectAssigner::load(const std::vector<Problem>& problems, cudaStream_t stream) {
    std::vector<Points> points;
    points.reserve(problems.size());
    for (const Problem& problem : problems) {
        points.push_back(problem.points);
    }
    load_batch(points, rows_, stream);
    scaling_.find(rows_, n_, values_of(points.front()), stream);
}

void DirectAssigner::assign(
        const float* centroids, const AssignmentArrays& output, cudaStream_t stream) {
    assign_direct(rows_, n_, scaling_, centroids, table_, output.ids, output.counts, stream);
}

} // namespace faiss_flash::cuda
