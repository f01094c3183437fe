/// Exceptions for values that are not finite, naming the first.
#pragma once

#include <faiss_flash/core/backend.h>

#include <cstdint>
#include <string>

namespace faiss_flash {

[[noreturn]] void reject_non_finite(const std::string& name, const NonFinite& where);

/// Throws for the first point that got no centroid: only one with a NaN or an Inf gets none.
/// @param ids  [points.n] as Backend::assign() leaves them
void require_centroids(const Backend& backend, const VectorView& points, const int64_t* ids);

} // namespace faiss_flash
