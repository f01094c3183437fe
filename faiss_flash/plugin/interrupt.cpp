#include <faiss_flash/plugin/interrupt.h>

#include <faiss/impl/AuxIndexStructures.h>
#include <faiss/impl/FaissException.h>

#include <omp.h>

namespace faiss_flash {

std::function<void()> interrupt_poll() {
    if (omp_get_level() > 0) {
        return nullptr;
    }
    return [] {
        // Several threads may add to indexes of their own at once: check() is for one alone.
        if (faiss::InterruptCallback::is_interrupted()) {
            throw faiss::FaissException("computation interrupted");
        }
    };
}

} // namespace faiss_flash
