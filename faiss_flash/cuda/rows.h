/// Rows of any type and place, brought together on the device.
#pragma once

#include <faiss_flash/core/backend.h>
#include <faiss_flash/core/points.h>

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

/// out [batch x n x d]: the rows of problems of equal n and d, packed. Problems that are the
/// columns of one matrix in the host's memory are read as one.
void load_batch(const std::vector<Points>& problems, float* out, cudaStream_t stream);

/// The same as load_rows(), rounded to f16 or bf16.
void load_halves(
        const Points& points,
        int64_t first,
        int64_t n,
        bool bf16,
        uint16_t* out,
        int64_t stride,
        cudaStream_t stream);

/// A NaN or Inf of one of the problems, whose rows are on the device: the first of that problem.
std::optional<NonFinite> find_non_finite(const std::vector<Points>& problems, cudaStream_t stream);

} // namespace faiss_flash::cuda
