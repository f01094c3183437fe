#include <faiss_flash/core/arguments.h>
#include <faiss_flash/core/backend.h>
#include <faiss_flash/core/interrupt.h>
#include <faiss_flash/core/non_finite.h>

#include <algorithm>
#include <limits>
#include <string>
#include <vector>

namespace faiss_flash {

void assign(
        const VectorView& points,
        const VectorView& centroids,
        Metric metric,
        int64_t* ids,
        float* distances,
        const std::string& device,
        const std::function<void()>& poll) {
    const Polling polling(poll);
    check_view(points, "points");
    check_host_view(centroids, "centroids");
    check_metric(metric);
    if (centroids.n == 0 || centroids.n > std::numeric_limits<int32_t>::max()) {
        throw InvalidArgument(
                "centroids.n=" + std::to_string(centroids.n) + " must be 1 to 2^31 - 1");
    }
    if (centroids.d != points.d) {
        throw InvalidArgument(
                "centroids.d=" + std::to_string(centroids.d) +
                " does not match points.d=" + std::to_string(points.d));
    }
    if (!ids && points.n > 0) {
        throw InvalidArgument("ids is null with points.n=" + std::to_string(points.n));
    }
    check_finite_rows(centroids, "centroids");
    const auto table = to_floats(centroids, centroids.n);
    const Backend& backend = backend_for(points, device);
    // Nothing is written before all of it is known to be right.
    std::vector<int64_t> found(static_cast<size_t>(points.n));
    std::vector<float> measured(distances ? found.size() : 0);
    float* values = distances ? measured.data() : nullptr;
    on_backend_or_host(backend, points, [&](const Backend& chosen) {
        chosen.assign(Points(points), table.data(), centroids.n, metric, found.data(), values);
    });
    require_centroids(backend, points, found);
    std::copy(found.begin(), found.end(), ids);
    std::copy(measured.begin(), measured.end(), distances);
}

void check_finite(const VectorView& rows, const std::string& name) {
    check_view(rows, name.c_str());
    if (!rows.decoder && !has_non_finite(rows.dtype)) {
        return;
    }
    const bool on_device = rows.space == MemorySpace::device;
    const Backend& backend = on_device ? backend_for(rows, "auto") : host_backend();
    if (const auto bad = backend.find_non_finite({Points(rows)})) {
        reject_non_finite(name, *bad);
    }
}

} // namespace faiss_flash
