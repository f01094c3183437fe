/// A thread's columns of a row, and how threads share a row's columns out.
#pragma once

#include <faiss_flash/cuda/device_rows.h>
#include <faiss_flash/cuda/elements.cuh>

#include <cstdint>
#include <type_traits>

namespace faiss_flash::cuda {

/// Columns of one lane as they lie in memory.
template <class Element, int kVector, bool kVectors>
struct alignas(kVectors ? sizeof(Element) * kVector : sizeof(Element)) RowPart {
    Element values[kVector];

    /// Zeros from column d on.
    __device__ void load(const uint8_t* row, int first, int d) {
        const auto* from = reinterpret_cast<const Element*>(row) + first;
        if constexpr (kVectors) {
            *this = *reinterpret_cast<const RowPart*>(from);
        } else {
#pragma unroll
            for (int v = 0; v < kVector; v++) {
                values[v] = first + v < d ? from[v] : Element(0.0f);
            }
        }
    }
    __device__ float value(int v) const {
        return static_cast<float>(values[v]);
    }
};

/// Calls body(Element(), columns, vectors) with the rows' type, the columns of a lane and whether
/// it reads them in vectors, both as constants.
template <class Body>
void with_row_part(const DeviceRows& rows, const Body& body) {
    with_element(rows.dtype, [&](auto element) {
        constexpr int kVector = vector_columns(sizeof(element));
        if (reads_vectors(rows.dtype, rows.d)) {
            body(element, std::integral_constant<int, kVector>(), std::true_type());
        } else {
            body(element, std::integral_constant<int, kSingles>(), std::false_type());
        }
    });
}

} // namespace faiss_flash::cuda
