/// Problems that the direct method takes.
#pragma once

#include <faiss_flash/cuda/assigner.h>
#include <faiss_flash/cuda/direct/assign.h>
#include <faiss_flash/cuda/rows.h>
#include <faiss_flash/cuda/scaling.h>

#include <cstdint>
#include <vector>

namespace faiss_flash::cuda {

class DirectAssigner final : public Assigner {
   public:
    DirectAssigner(const Workload& workload, bool in_place, Arena& arena);

    void load(const std::vector<Problem>& problems, cudaStream_t stream) override;
    DeviceRows rows() const override { return rows_.get(); }
    void prepare(const ColumnExtremes& extremes, cudaStream_t stream) override;
    void assign(
            const RowRange& rows,
            const float* centroids,
            const AssignmentArrays& output,
            cudaStream_t stream) override;

   private:
    LoadedRows rows_;
    Values values_ = Values::any;
    Scaling scaling_;
    DirectCentroids table_;
};

} // namespace faiss_flash::cuda
