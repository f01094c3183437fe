#include <faiss_flash/core/device_choice.h>

#include <algorithm>
#include <mutex>

namespace faiss_flash {

namespace {

/// No call of a GPU takes less: work that the CPU is through with by then looks for none.
constexpr double kLeastSeconds = 3e-4;
/// The driver and a context.
constexpr double kFirstUseSeconds = 0.3;

std::mutex& mutex() {
    static auto* instance = new std::mutex;
    return *instance;
}

FirstUse& first_use() { // under the mutex
    static FirstUse instance(kFirstUseSeconds);
    return instance;
}

bool any_is_started() {
    const auto& all = backends();
    return std::any_of(
            all.begin(), all.end(), [](const Backend* backend) { return backend->is_started(); });
}

/// What a GPU saves at best.
double most_saved(const Workload& workload, double iterations) {
    return host_backend().seconds(workload, iterations) - kLeastSeconds;
}

} // namespace

bool chooses_by_time(const VectorView& points, Precision precision, const std::string& device) {
    return device == "auto" && default_device() == "auto" && precision == Precision::exact &&
           points.space != MemorySpace::device;
}

const Backend& expected_backend(
        const VectorView& points,
        const Workload& workload,
        double iterations,
        const std::string& device) {
    if (!chooses_by_time(points, workload.precision, device)) {
        return backend_for(points, device);
    }
    const double saved = most_saved(workload, iterations);
    if (saved <= 0) {
        return host_backend();
    }
    bool pays = false;
    {
        const std::lock_guard<std::mutex> lock(mutex());
        pays = first_use().pays(saved);
    }
    if (!pays && !(backends_are_known() && any_is_started())) {
        return host_backend();
    }
    const Backend* first =
            *std::find_if(backends().begin(), backends().end(), [&](const Backend* backend) {
                return backend->reads(points);
            });
    const bool faster = first->seconds(workload, iterations) < saved + kLeastSeconds;
    return faster ? backend_for(points, device) : host_backend(); // which may not start
}

const Backend& fastest_backend(
        const VectorView& points,
        const Workload& workload,
        double iterations,
        const std::string& device) {
    const Backend& chosen = expected_backend(points, workload, iterations, device);
    if (&chosen == &host_backend() && chooses_by_time(points, workload.precision, device)) {
        const double saved = most_saved(workload, iterations);
        const std::lock_guard<std::mutex> lock(mutex());
        first_use().lose(std::max(0.0, saved));
    }
    return chosen;
}

} // namespace faiss_flash
