/// The rows that a caller gives: what is wrong with them is told by their place in his array.
#pragma once

#include <faiss_flash/kmeans.h>
#include <faiss_flash/plugin/errors.h>

#include <cstdint>
#include <string>

namespace faiss_flash {

bool all_finite(const float* values, int64_t count);

/// Rejects null rows.
void require_rows(const VectorView& rows, const std::string& name);

/// Rejects null rows [n x d], and those with a NaN or an Inf, naming x[row][column].
void require_finite(int64_t n, const float* x, int64_t d, const std::string& name = "x");

/// Runs f, a call of the engine that reads the rows. The engine calls them points, and may see some
/// of their columns: one that it rejects is named by its place in the caller's.
template <class F>
auto naming_rows(const VectorView& rows, const std::string& name, F f) -> decltype(f()) {
    require_rows(rows, name);
    return with_faiss_errors([&] {
        try {
            return f();
        } catch (const InvalidArgument& error) {
            if (std::string(error.what()).rfind("points[", 0) == 0) {
                check_finite(rows, name);
            }
            throw;
        }
    });
}

} // namespace faiss_flash
