#include <faiss_flash/cuda/runtime/check.h>
#include <faiss_flash/cuda/runtime/tensor_map.h>

#include <cudaTypedefs.h>

#include <algorithm>
#include <string>

namespace faiss_flash::cuda {

namespace {

constexpr int64_t kAlignment = 16;
constexpr int64_t kMaxStride = int64_t{1} << 40;
constexpr int64_t kMaxExtent = int64_t{1} << 32;

/// Rows of a box are as wide as the swizzle.
CUtensorMapSwizzle swizzle_of(int box_columns) {
    switch (box_columns) {
        case 16:
            return CU_TENSOR_MAP_SWIZZLE_32B;
        case 32:
            return CU_TENSOR_MAP_SWIZZLE_64B;
        case 64:
            return CU_TENSOR_MAP_SWIZZLE_128B;
        default:
            throw Error("box_columns=" + std::to_string(box_columns) + " must be 16, 32 or 64");
    }
}

/// Looked up at run time: nothing links the driver's library.
PFN_cuTensorMapEncodeTiled_v12000 encode_function() {
    void* function = nullptr;
    cudaDriverEntryPointQueryResult found{};
    check(cudaGetDriverEntryPointByVersion(
                  "cuTensorMapEncodeTiled", &function, 12000, cudaEnableDefault, &found),
          "looking up cuTensorMapEncodeTiled");
    if (found != cudaDriverEntryPointSuccess) {
        throw Error("the driver has no cuTensorMapEncodeTiled: it is older than CUDA 12.0");
    }
    return reinterpret_cast<PFN_cuTensorMapEncodeTiled_v12000>(function);
}

} // namespace

int alignment_of(const TensorRows& rows) {
    const auto bits = reinterpret_cast<uintptr_t>(rows.data) |
                      static_cast<uintptr_t>(rows.row_bytes) |
                      static_cast<uintptr_t>(rows.batch_bytes) | kAlignment;
    return static_cast<int>(bits & (~bits + 1)); // the lowest bit that is set
}

bool can_map(const TensorRows& rows) {
    return alignment_of(rows) == kAlignment && rows.row_bytes < kMaxStride &&
           rows.batch_bytes < kMaxStride && rows.rows < kMaxExtent && rows.batch < kMaxExtent;
}

CUtensorMap make_tensor_map(const TensorRows& rows, int box_rows, int box_columns) {
    static const auto encode = encode_function();
    const cuuint64_t extents[] = {
            static_cast<cuuint64_t>(rows.columns),
            static_cast<cuuint64_t>(rows.rows),
            static_cast<cuuint64_t>(rows.batch)};
    const cuuint64_t strides[] = {
            static_cast<cuuint64_t>(rows.row_bytes),
            static_cast<cuuint64_t>(std::max(rows.batch_bytes, rows.row_bytes))};
    const cuuint32_t box[] = {
            static_cast<cuuint32_t>(box_columns), static_cast<cuuint32_t>(box_rows), 1};
    const cuuint32_t element_strides[] = {1, 1, 1};
    CUtensorMap map;
    const CUresult status =
            encode(&map,
                   rows.bf16 ? CU_TENSOR_MAP_DATA_TYPE_BFLOAT16 : CU_TENSOR_MAP_DATA_TYPE_FLOAT16,
                   3,
                   const_cast<void*>(rows.data),
                   extents,
                   strides,
                   box,
                   element_strides,
                   CU_TENSOR_MAP_INTERLEAVE_NONE,
                   swizzle_of(box_columns),
                   CU_TENSOR_MAP_L2_PROMOTION_L2_256B,
                   CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
    if (status != CUDA_SUCCESS) {
        throw Error(
                "tensor map of " + std::to_string(rows.rows) + " x " +
                std::to_string(rows.columns) + " elements, " + std::to_string(rows.row_bytes) +
                " bytes a row: CUresult " + std::to_string(static_cast<int>(status)));
    }
    return map;
}

} // namespace faiss_flash::cuda
