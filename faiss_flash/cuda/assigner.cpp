#include <faiss_flash/cuda/assigner.h>

#include <faiss_flash/cuda/direct/assigner.h>

namespace faiss_flash::cuda {

Method method_for(const Workload& workload) {
    const bool plain = !workload.weighted && !workload.decoded;
    if (workload.precision == Precision::fast && plain && workload.dtype != DType::f32) {
        return Method::fast;
    }
    return plain && direct_pays(workload.batch, workload.n, workload.k, workload.d) ? Method::direct
                                                                                    : Method::exact;
}

DType rows_type(Method method, const Workload& workload) {
    if (method != Method::fast) {
        return DType::f32;
    }
    return workload.dtype == DType::bf16 ? DType::bf16 : DType::f16;
}

std::unique_ptr<Assigner> make_assigner(
        Method method, const Workload& workload, bool in_place, Arena& arena) {
    switch (method) {
        case Method::fast:
            return fast_assigner(workload, in_place, arena);
        case Method::direct:
            return std::make_unique<DirectAssigner>(workload, arena);
        case Method::exact:
            break;
    }
    return exact_assigner(workload, arena);
}

bool fast_holds(DType dtype, double largest) {
    // Coordinates up to 2^48, centroids' up to 2^52 (assign/prepare.cu) and 2^15 columns: below
    // 2^115. From 2^-50 on products of the largest are normal numbers.
    return dtype != DType::bf16 || largest == 0 || (largest >= 0x1p-50 && largest <= 0x1p48);
}

} // namespace faiss_flash::cuda
