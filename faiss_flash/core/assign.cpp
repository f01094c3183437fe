#include <faiss_flash/core/assign.h>

#include <faiss_flash/core/arguments.h>
#include <faiss_flash/core/device_choice.h>
#include <faiss_flash/core/interrupt.h>
#include <faiss_flash/core/non_finite.h>
#include <faiss_flash/core/parallel.h>

#include <algorithm>
#include <limits>
#include <memory>
#include <string>
#include <vector>

namespace faiss_flash {

namespace {

constexpr int64_t kRows = 16384; // of a loop's pieces

/// Not filled: its pages are first touched by the threads that write them.
template <class T>
std::unique_ptr<T[]> unfilled(int64_t count) {
    return std::unique_ptr<T[]>(new T[static_cast<size_t>(count)]);
}

/// The centroids as packed float32: in place where they are.
class PlainCentroids {
   public:
    explicit PlainCentroids(const VectorView& view) {
        const Points rows(view);
        const bool packed = rows.in_place() && rows.read(0, view.n, nullptr).stride == view.d;
        if (packed) {
            data_ = rows.read(0, view.n, nullptr).data;
        } else {
            copy_ = to_floats(view, view.n);
            data_ = copy_.data();
        }
    }
    const float* data() const { return data_; }

   private:
    std::vector<float> copy_;
    const float* data_;
};

} // namespace

void check_centroids(const VectorView& centroids, Metric metric) {
    check_host_view(centroids, "centroids");
    check_metric(metric);
    if (centroids.n == 0 || centroids.n > std::numeric_limits<int32_t>::max()) {
        throw InvalidArgument(
                "centroids.n=" + std::to_string(centroids.n) + " must be 1 to 2^31 - 1");
    }
}

void check_assigned(const VectorView& points, int64_t d, const int64_t* ids) {
    check_view(points, "points");
    if (d != points.d) {
        throw InvalidArgument(
                "centroids.d=" + std::to_string(d) +
                " does not match points.d=" + std::to_string(points.d));
    }
    if (!ids && points.n > 0) {
        throw InvalidArgument("ids is null with points.n=" + std::to_string(points.n));
    }
}

Assignment assignment_into(KMeansResult& result, const Points& points, int64_t memory_limit) {
    result.assignment.resize(static_cast<size_t>(points.n()));
    result.distances.resize(static_cast<size_t>(points.n()));
    return {points,
            result.centroids.data(),
            result.assignment.data(),
            result.distances.data(),
            memory_limit};
}

const Backend& backend_for_rows(
        const VectorView& points, int64_t k, Metric metric, const std::string& device) {
    KMeansOptions options;
    options.metric = metric;
    return fastest_backend(points, workload_of(points, false, 1, points.n, k, options), 1, device);
}

void assign_by(
        const Backend& backend,
        const VectorView& points,
        int64_t* ids,
        float* distances,
        const FindCentroids& find) {
    // Nothing is written before all of it is known to be right.
    const auto found = unfilled<int64_t>(points.n);
    const auto measured = unfilled<float>(distances ? points.n : 0);
    on_backend_or_host(backend, points, [&](const Backend& chosen) {
        find(chosen, found.get(), distances ? measured.get() : nullptr);
    });
    require_centroids(backend, points, found.get());
    const NoPolling to_the_end;
    for_each_range(points.n, kRows, [&](int64_t begin, int64_t end) {
        std::copy(found.get() + begin, found.get() + end, ids + begin);
        if (distances) {
            std::copy(measured.get() + begin, measured.get() + end, distances + begin);
        }
    });
}

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
    check_centroids(centroids, metric);
    check_assigned(points, centroids.d, ids);
    check_finite_rows(centroids, "centroids");
    const PlainCentroids packed(centroids);
    const auto find = [&](const Backend& backend, int64_t* found, float* measured) {
        backend.assign(Points(points), packed.data(), centroids.n, metric, found, measured);
    };
    const Backend& backend = backend_for_rows(points, centroids.n, metric, device);
    assign_by(backend, points, ids, distances, find);
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
