/// The element types of rows, by their number.
#pragma once

#include <faiss_flash/kmeans.h>

#include <cuda_bf16.h>
#include <cuda_fp16.h>

namespace faiss_flash::cuda {

/// Calls body(Element()) for the type of the rows.
template <class Body>
void with_element(DType dtype, const Body& body) {
    if (dtype == DType::f16) {
        body(__half());
    } else if (dtype == DType::bf16) {
        body(__nv_bfloat16());
    } else {
        body(float());
    }
}

} // namespace faiss_flash::cuda
