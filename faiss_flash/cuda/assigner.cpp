#include <faiss_flash/cuda/assigner.h>

#include <faiss_flash/cuda/direct/assigner.h>
#include <faiss_flash/cuda/runtime/tensor_map.h>

#include <cstdint>
#include <vector>

namespace faiss_flash::cuda {

Method method_for(const Workload& workload) {
    const bool plain = !workload.weighted && !workload.decoded;
    if (workload.precision == Precision::fast && plain && workload.dtype != DType::f32) {
        return Method::fast;
    }
    return plain && direct_pays(workload.batch, workload.assigned(), workload.k, workload.d)
                   ? Method::direct
                   : Method::exact;
}

DType rows_type(Method method, const Workload& workload) {
    if (method == Method::fast) {
        return workload.dtype == DType::bf16 ? DType::bf16 : DType::f16;
    }
    return workload.row_type();
}

bool stay_in_place(Method method, const std::vector<Problem>& problems) {
    const Points& front = problems.front().points;
    const VectorView& view = front.view();
    const bool fast = method == Method::fast;
    if (view.space != MemorySpace::device || view.decoder ||
        (fast && dtype_size(view.dtype) != 2)) {
        return false;
    }
    // The tensor cores' rows begin at multiples of 16 bytes, one right after the other.
    const int64_t alignment = fast ? 16 : row_alignment(view.dtype, view.d);
    if (fast && view.row_stride != 2 * padded_columns(view.d)) {
        return false;
    }
    const auto* first = static_cast<const uint8_t*>(view.data);
    int64_t before = 0; // bytes of the problems before
    for (const Problem& problem : problems) {
        const Points& points = problem.points;
        if (points.selected() || points.view().row_stride != view.row_stride ||
            points.view().dtype != view.dtype || points.view().data != first + before) {
            return false;
        }
        before += front.n() * view.row_stride;
    }
    return view.row_stride % alignment == 0 &&
           reinterpret_cast<uintptr_t>(first) % static_cast<uintptr_t>(alignment) == 0;
}

std::unique_ptr<Assigner> make_assigner(
        Method method, const Workload& workload, bool in_place, Arena& arena) {
    switch (method) {
        case Method::fast:
            return fast_assigner(workload, in_place, arena);
        case Method::direct:
            return std::make_unique<DirectAssigner>(workload, in_place, arena);
        case Method::exact:
            break;
    }
    return exact_assigner(workload, in_place, arena);
}

bool fast_holds(DType dtype, double largest) {
    // Coordinates up to 2^48, centroids' up to 2^52 (assign/prepare.cu) and 2^15 columns: below
    // 2^115. From 2^-50 on products of the largest are normal numbers.
    return dtype != DType::bf16 || largest == 0 || (largest >= 0x1p-50 && largest <= 0x1p48);
}

} // namespace faiss_flash::cuda
