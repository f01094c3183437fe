#include <faiss_flash/core/backend.h>
#include <faiss_flash/cpu/backend.h>
#ifdef FAISS_FLASH_CUDA
#include <faiss_flash/cuda/backend.h>
#endif

#include <atomic>
#include <cstdlib>
#include <limits>
#include <string>

namespace faiss_flash {

namespace {

std::atomic<bool> known{false};

/// Looked for when first needed, and not before: a program may fork until then.
std::vector<const Backend*> find_backends() {
    std::vector<const Backend*> list;
#ifdef FAISS_FLASH_CUDA
    if (default_device() != "cpu") {
        list = cuda::backends();
    }
#endif
    list.push_back(&cpu::backend());
    known = true;
    return list;
}

bool is_named(const Backend& backend, const std::string& device) {
    const std::string name = backend.name();
    return device == "auto" || device == name || (device == "cuda" && name.rfind("cuda:", 0) == 0);
}

std::string names_of(const std::vector<const Backend*>& list) {
    std::string names;
    for (const Backend* backend : list) {
        names += std::string(names.empty() ? "" : ", ") + backend->name();
    }
    return names;
}

} // namespace

int64_t Backend::most_together(const Workload& /*workload*/) const {
    return std::numeric_limits<int64_t>::max();
}

void Backend::assign_batch(
        const std::vector<Assignment>& problems, int64_t k, Metric metric) const {
    for (const Assignment& problem : problems) {
        assign(problem.points, problem.centroids, k, metric, problem.ids, problem.distances);
    }
}

void Backend::read_rows(
        const Points& points, const int64_t* rows, int64_t count, float* out) const {
    for (int64_t i = 0; i < count; i++) {
        points.copy_row(rows[i], out + i * points.d());
    }
}

const std::vector<const Backend*>& backends() {
    static const std::vector<const Backend*> list = find_backends();
    return list;
}

bool backends_are_known() {
    return known;
}

std::string default_device() {
    const char* device = std::getenv("FAISS_FLASH_DEVICE");
    return device && *device ? device : "auto";
}

const Backend& host_backend() {
    return cpu::backend();
}

const Backend& backend_for(const VectorView& points, const std::string& device) {
    const bool chosen = device != "auto";
    const std::string wanted = chosen ? device : default_device();
    const std::string argument = chosen ? "device=" + device : "FAISS_FLASH_DEVICE=" + wanted;
    bool named = false;
    for (const Backend* backend : backends()) {
        if (is_named(*backend, wanted)) {
            named = true;
            // A device that is asked for says itself why it cannot be used.
            if (backend->reads(points) && (wanted != "auto" || backend->starts())) {
                return *backend;
            }
        }
    }
    if (!named) {
        throw InvalidArgument(
                argument + " is not one of auto, " + names_of(backends()) +
                ", which can be used here (\"cuda\": the first of them that is a GPU)");
    }
    if (points.space == MemorySpace::host) {
        throw InvalidArgument(
                argument +
                " cannot be used in a process that was forked from one that had found it");
    }
    throw InvalidArgument(
            std::string("points.space=device: points.data is not in memory that ") +
            (wanted == "auto" ? "a backend" : wanted) + " can read here");
}

} // namespace faiss_flash
