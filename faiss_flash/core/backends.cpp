#include <faiss_flash/core/backend.h>
#include <faiss_flash/cpu/backend.h>
#ifdef FAISS_FLASH_CUDA
#include <faiss_flash/cuda/backend.h>
#endif

#include <cstdlib>
#include <string>

namespace faiss_flash {

namespace {

/// FAISS_FLASH_DEVICE: auto (or not set) or cpu, for programs that cannot be changed.
bool wants_devices() {
    const char* device = std::getenv("FAISS_FLASH_DEVICE");
    const std::string wanted = device ? device : "auto";
    if (wanted != "auto" && wanted != "cpu") {
        throw InvalidArgument("FAISS_FLASH_DEVICE=" + wanted + " must be auto or cpu");
    }
    return wanted == "auto";
}

/// Looked for when first needed, and not before: a program may fork until then.
std::vector<const Backend*> find_backends() {
    std::vector<const Backend*> list;
#ifdef FAISS_FLASH_CUDA
    if (wants_devices()) {
        if (const Backend* cuda = cuda::backend(cpu::backend())) {
            list.push_back(cuda);
        }
    }
#else
    wants_devices();
#endif
    list.push_back(&cpu::backend());
    return list;
}

} // namespace

const std::vector<const Backend*>& backends() {
    static const std::vector<const Backend*> list = find_backends();
    return list;
}

const Backend& backend_for(MemorySpace space) {
    for (const Backend* backend : backends()) {
        if (backend->reads(space)) {
            return *backend;
        }
    }
    throw InvalidArgument(
            "space=" + std::to_string(static_cast<int>(space)) +
            ": no backend of this build reads such memory");
}

} // namespace faiss_flash
