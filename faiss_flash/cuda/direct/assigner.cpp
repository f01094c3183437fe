#include <faiss_flash/cuda/direct/assigner.h>

namespace faiss_flash::cuda {

DirectAssigner::DirectAssigner(const Workload& workload, bool in_place, Arena& arena)
    : rows_(workload, in_place, arena),
      scaling_(workload.batch, workload.d, arena),
      table_(workload.batch, workload.k, workload.d, workload.metric, arena) {}

void DirectAssigner::load(const std::vector<Problem>& problems, cudaStream_t stream) {
    rows_.load(problems, stream);
    values_ = values_of(problems.front().points);
}

void DirectAssigner::prepare(const ColumnExtremes& extremes, cudaStream_t stream) {
    scaling_.find(rows(), extremes, values_, stream);
}

void DirectAssigner::assign(
        const RowRange& rows,
        const float* centroids,
        const AssignmentArrays& output,
        cudaStream_t stream) {
    const DeviceRows part = this->rows().part(rows);
    assign_direct(part, scaling_, centroids, table_, output.ids, output.counts, stream);
}

} // namespace faiss_flash::cuda
