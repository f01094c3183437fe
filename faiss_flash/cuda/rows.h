/// Rows of any type and place, brought together on the device.
#pragma once

#include <faiss_flash/core/backend.h>
#include <faiss_flash/core/points.h>
#include <faiss_flash/core/shard.h>
#include <faiss_flash/cuda/device_rows.h>
#include <faiss_flash/cuda/runtime/arena.h>

#include <cuda_runtime_api.h>

#include <cstdint>
#include <optional>
#include <vector>

namespace faiss_flash::cuda {

/// out [n x stride]: rows first .. first + n - 1 of the points as float32, zeros after column d.
/// Host rows go through pinned buffers; waits only for the host's own memory to be read.
void load_rows(
        const Points& points,
        int64_t first,
        int64_t n,
        float* out,
        int64_t stride,
        cudaStream_t stream);

/// Has the stream wait for rows on the device that are still in the making, on VectorView::stream;
/// waits for the whole device where that is not known.
void wait_for_rows(const std::vector<Problem>& problems, cudaStream_t stream);

/// The same as load_rows(), rounded to f16 or bf16.
void load_halves(
        const Points& points,
        int64_t first,
        int64_t n,
        bool bf16,
        uint16_t* out,
        int64_t stride,
        cudaStream_t stream);

/// Rows of the problems of a workload on the device, in their own type but for decoded ones, which
/// are float32: where they lie or in a copy, packed.
class LoadedRows {
   public:
    /// in_place: the problems' rows stay where they are.
    LoadedRows(const Workload& workload, bool in_place, Arena& arena);
    /// Waits only for the host's own memory to be read.
    void load(const std::vector<Problem>& problems, cudaStream_t stream);
    const DeviceRows& get() const { return rows_; }

   private:
    DeviceRows rows_;
    uint8_t* copy_; ///< or null
};

/// A NaN or Inf of one of the problems, whose rows are on the device: the first of that problem.
std::optional<NonFinite> find_non_finite(const std::vector<Points>& problems, cudaStream_t stream);

} // namespace faiss_flash::cuda
