/// What every assignment of a caller's rows has in common: checks, and results that are written
/// when all of them are known to be right.
#pragma once

#include <faiss_flash/core/backend.h>

#include <cstdint>
#include <functional>
#include <string>

namespace faiss_flash {

/// Rejects centroids that no point can be assigned to, but for those that are not finite.
void check_centroids(const VectorView& centroids, Metric metric);

/// Rejects points that cannot be assigned to centroids of d coordinates, or without `ids`.
void check_assigned(const VectorView& points, int64_t d, const int64_t* ids);

/// Of the points to the result's centroids, into its assignment and distances, which get room.
Assignment assignment_into(KMeansResult& result, const Points& points, int64_t memory_limit);

/// Where points are assigned to k centroids.
const Backend& backend_for_rows(
        const VectorView& points, int64_t k, Metric metric, const std::string& device);

/// find(backend, ids, distances) assigns the points, on the backend or on the host, into memory
/// that nobody else sees; distances is null where the caller's is. Throws, with nothing written,
/// what it throws and for a point that is not finite.
using FindCentroids = std::function<void(const Backend& backend, int64_t* ids, float* distances)>;
void assign_by(
        const Backend& backend,
        const VectorView& points,
        int64_t* ids,
        float* distances,
        const FindCentroids& find);

} // namespace faiss_flash
