/// The engine's exceptions as FAISS's.
#pragma once

#include <faiss/impl/FaissException.h>
#include <faiss_flash/kmeans.h>

#include <string>

namespace faiss_flash {

/// Runs f; what the engine throws becomes a faiss::FaissException with the same text.
template <class F>
auto with_faiss_errors(F f) -> decltype(f()) {
    try {
        return f();
    } catch (const Error& error) {
        throw faiss::FaissException(error.what());
    }
}

/// For checks that the plugin makes itself.
inline void require(bool ok, const std::string& message) {
    if (!ok) {
        throw faiss::FaissException(message);
    }
}

} // namespace faiss_flash
