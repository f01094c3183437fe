#include <faiss_flash/cuda/session_points.h>

#include <faiss_flash/cuda/assign/assign.h>
#include <faiss_flash/cuda/direct/assign.h>
#include <faiss_flash/cuda/exact/assign.h>
#include <faiss_flash/cuda/exact/points.h>

namespace faiss_flash::cuda {

Assigner assigner_for(const Workload& workload) {
    const auto [batch, n, d, k, dtype, precision, plain, space] = workload;
    if (precision == Precision::fast && plain && dtype != DType::f32) {
        return Assigner::fast;
    }
    return plain && direct_pays(batch, n, k, d) ? Assigner::direct : Assigner::exact;
}

std::unique_ptr<SessionPoints> session_points(
        Assigner assigner,
        const std::vector<Problem>& problems,
        int64_t k,
        Metric metric,
        cudaStream_t stream) {
    switch (assigner) {
        case Assigner::fast:
            return fast_points(problems, stream);
        case Assigner::direct:
            return direct_points(problems, k, metric, stream);
        case Assigner::exact:
            break;
    }
    return exact_points(problems.front().points, stream);
}

int64_t points_bytes(Assigner assigner, const Workload& workload) {
    const auto [batch, n, d, k, dtype, precision, plain, space] = workload;
    constexpr int64_t kStaging = int64_t{4} << 20; // of host rows on their way
    if (assigner == Assigner::exact) {
        return batch * DevicePoints::bytes(n, d) + kStaging;
    }
    if (assigner == Assigner::direct) {
        return batch * (4 * n * d + Scaling::bytes(d)) + kStaging;
    }
    const bool half = dtype == DType::f16 || dtype == DType::bf16;
    const bool in_place = half && space == MemorySpace::device; // as a rule
    return (in_place ? 0 : batch * 2 * n * padded_columns(d)) + kStaging;
}

int64_t iteration_bytes(Assigner assigner, const Workload& workload, int limbs) {
    const auto [batch, n, d, k, dtype, precision, plain, space] = workload;
    const int64_t weights = plain ? 0 : 12 * n;              // and every point's value
    const int64_t slots = 2 * (8 * k * d + 16 * k) + 16 * k; // centroids, means, sizes, gains
    const int64_t ids = 4 * n;
    const int64_t all =
            batch * (weights + slots + ids) + CentroidUpdate::bytes(batch, n, d, k, limbs);
    switch (assigner) {
        case Assigner::exact:
            return all + batch * exact_bytes(n, d, k);
        case Assigner::direct:
            return all + DirectTable::bytes(batch, k, d);
        case Assigner::fast:
            break;
    }
    return all + 4 * batch * n + CentroidTable::bytes(batch, k, d) +
           assign_bytes({batch, n, k, d, false, 16, true});
}

bool fast_holds(DType dtype, double largest) {
    // Coordinates up to 2^48, centroids' up to 2^52 (assign/prepare.cu) and 2^15 columns: below
    // 2^115. From 2^-50 on products of the largest are normal numbers.
    return dtype != DType::bf16 || largest == 0 || (largest >= 0x1p-50 && largest <= 0x1p48);
}

} // namespace faiss_flash::cuda
