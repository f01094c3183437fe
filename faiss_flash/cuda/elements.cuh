/// The element types of rows, by their number.
#pragma once

#include <faiss_flash/kmeans.h>

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <cstdint>

namespace faiss_flash::cuda {

/// Calls body(Element()) for the type of rows, on the host or on the device.
#pragma nv_exec_check_disable
template <class Body>
__host__ __device__ __forceinline__ void with_element(DType dtype, const Body& body) {
    switch (dtype) {
        case DType::f32:
            return body(float());
        case DType::f16:
            return body(__half());
        case DType::bf16:
            return body(__nv_bfloat16());
        case DType::u8:
            return body(uint8_t());
        case DType::i8:
            return body(int8_t());
    }
}

} // namespace faiss_flash::cuda
