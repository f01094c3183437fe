#include <faiss_flash/assigner.h>

#include <faiss_flash/core/arguments.h>
#include <faiss_flash/core/assign.h>
#include <faiss_flash/core/interrupt.h>
#include <faiss_flash/core/parallel.h>

#include <atomic>
#include <cstring>
#include <map>
#include <mutex>
#include <vector>

namespace faiss_flash {

namespace {

/// The check comes before the copy.
std::vector<float> finite_floats(const VectorView& centroids, Metric metric) {
    check_centroids(centroids, metric);
    check_finite_rows(centroids, "centroids");
    return to_floats(centroids, centroids.n);
}

} // namespace

struct PreparedAssigner::Parts {
    const std::vector<float> centroids; ///< [k x d]
    const int64_t k, d;
    const Metric metric;
    const std::string device;

    /// Made when a backend first assigns, without the lock: it may take long.
    std::shared_ptr<const PreparedCentroids> on(const Backend& backend) {
        {
            const std::lock_guard<std::mutex> lock(mutex);
            const auto known = prepared.find(&backend);
            if (known != prepared.end()) {
                return known->second;
            }
        }
        std::shared_ptr<const PreparedCentroids> made =
                backend.prepare(centroids.data(), k, d, metric);
        const std::lock_guard<std::mutex> lock(mutex);
        return prepared.emplace(&backend, std::move(made)).first->second;
    }

    std::mutex mutex;
    std::map<const Backend*, std::shared_ptr<const PreparedCentroids>> prepared;
};

PreparedAssigner::PreparedAssigner(
        const VectorView& centroids, Metric metric, const std::string& device)
    : parts_(new Parts{
              finite_floats(centroids, metric), centroids.n, centroids.d, metric, device, {}, {}}) {
    if (device != "auto") {
        backend_for(VectorView(), device);
    }
}

PreparedAssigner::~PreparedAssigner() = default;

void PreparedAssigner::assign(
        const VectorView& points,
        int64_t* ids,
        float* distances,
        const std::function<void()>& poll) const {
    const Polling polling(poll);
    check_assigned(points, parts_->d, ids);
    const auto find = [&](const Backend& backend, int64_t* found, float* measured) {
        parts_->on(backend)->assign(Points(points), found, measured);
    };
    const Backend& backend = backend_for_rows(points, parts_->k, parts_->metric, parts_->device);
    assign_by(backend, points, ids, distances, find);
}

bool PreparedAssigner::holds(const VectorView& centroids) const {
    check_host_view(centroids, "centroids");
    const int64_t d = parts_->d;
    if (centroids.n != parts_->k || centroids.d != d) {
        return false;
    }
    const Points rows(centroids);
    constexpr int64_t kValues = 1 << 16; // a piece's
    const int64_t each = std::max<int64_t>(1, kValues / d);
    std::atomic<bool> same{true};
    for_each_range(parts_->k, each, [&](int64_t begin, int64_t end) {
        std::vector<float> scratch(rows.in_place() ? 0 : static_cast<size_t>((end - begin) * d));
        const RowBlock block = rows.read(begin, end - begin, scratch.data());
        for (int64_t i = begin; i < end && same; i++) {
            const float* kept = parts_->centroids.data() + i * d;
            if (std::memcmp(block.row(i - begin), kept, static_cast<size_t>(d) * 4) != 0) {
                same = false;
            }
        }
    });
    return same;
}

} // namespace faiss_flash
