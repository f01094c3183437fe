#include <faiss_flash/core/backend.h>
#include <faiss_flash/cpu/backend.h>

namespace faiss_flash {

const std::vector<const Backend*>& backends() {
    static const std::vector<const Backend*> list{&cpu::backend()};
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
