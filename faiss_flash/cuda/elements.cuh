/// The element types of rows, by their number.
#pragma once

#include <faiss_flash/kmeans.h>

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <cstdint>

namespace faiss_flash::cuda {

/// Calls body(Element()) for the type of rows that an update reads: f32, f16 or bf16.
template <class Body>
void with_float_element(DType dtype, const Body& body) {
    if (dtype == DType::f16) {
        body(__half());
    } else if (dtype == DType::bf16) {
        body(__nv_bfloat16());
    } else {
        body(float());
    }
}

/// The same for any type.
template <class Body>
void with_element(DType dtype, const Body& body) {
    if (dtype == DType::u8) {
        body(uint8_t());
    } else if (dtype == DType::i8) {
        body(int8_t());
    } else {
        with_float_element(dtype, body);
    }
}

} // namespace faiss_flash::cuda
