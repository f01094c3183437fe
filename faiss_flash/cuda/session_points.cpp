#include <faiss_flash/cuda/session_points.h>

#include <faiss_flash/cuda/direct/session_points.h>

namespace faiss_flash::cuda {

Assigner assigner_for(const Workload& workload) {
    const auto [batch, n, d, k, dtype, precision, plain, space] = workload;
    if (precision == Precision::fast && plain && dtype != DType::f32) {
        return Assigner::fast;
    }
    return plain && direct_pays(batch, n, k, d) ? Assigner::direct : Assigner::exact;
}

std::unique_ptr<SessionPoints> session_points(
        Assigner assigner, const Workload& workload, Metric metric, bool in_place, Arena& arena) {
    const auto [batch, n, d, k, dtype, precision, plain, space] = workload;
    switch (assigner) {
        case Assigner::fast:
            return fast_points(workload, metric, in_place, arena);
        case Assigner::direct:
            return std::make_unique<DirectPoints>(batch, n, k, d, metric, arena);
        case Assigner::exact:
            break;
    }
    return exact_points(workload, metric, arena);
}

int64_t points_bytes(Assigner assigner, const Workload& workload) {
    constexpr int64_t kStaging = int64_t{4} << 20; // of host rows on their way
    const bool half = workload.dtype == DType::f16 || workload.dtype == DType::bf16;
    const bool in_place = half && workload.space == MemorySpace::device; // as a rule
    const int64_t sessions = assigner == Assigner::exact ? workload.batch : 1;
    const int64_t each = bytes_of([&](Arena& arena) {
        return session_points(assigner, workload, Metric::l2, in_place, arena); // folds biases
    });
    return sessions * each + kStaging;
}

int64_t iteration_bytes(const Workload& workload, int limbs) {
    const auto [batch, n, d, k, dtype, precision, plain, space] = workload;
    const int64_t weights = plain ? 0 : 12 * n;              // and every point's value
    const int64_t slots = 2 * (8 * k * d + 16 * k) + 16 * k; // centroids, means, sizes, gains
    const int64_t ids = 4 * n;
    return batch * (weights + slots + ids) + CentroidUpdate::bytes(batch, n, d, k, limbs);
}

bool fast_holds(DType dtype, double largest) {
    // Coordinates up to 2^48, centroids' up to 2^52 (assign/prepare.cu) and 2^15 columns: below
    // 2^115. From 2^-50 on products of the largest are normal numbers.
    return dtype != DType::bf16 || largest == 0 || (largest >= 0x1p-50 && largest <= 0x1p48);
}

} // namespace faiss_flash::cuda
