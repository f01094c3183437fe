/// Flat indexes as seen by the engine.
#pragma once

#include <faiss/IndexFlat.h>
#include <faiss_flash/kmeans.h>

#include <cstdint>
#include <string>

namespace faiss_flash {

/// The index as a flat one whose metric the engine knows, null for any other.
const faiss::IndexFlat* as_flat(const faiss::Index& index);

/// The engine's name for a metric that as_flat() accepts.
Metric engine_metric(faiss::MetricType metric);

/// The nearest vector of a flat index for each of n queries, by the engine.
/// @param x          [n x d]
/// @param distances  [n] or null
/// @param labels     [n]
/// @param device     see KMeansOptions::device
/// @return           false, with nothing written, where the index's own search should be used:
///                   not flat, empty, or too few queries to pay for preparing its vectors
/// Throws InvalidArgument for a query with a NaN or an Inf.
bool assign_by_engine(
        const faiss::Index& index,
        int64_t n,
        const float* x,
        float* distances,
        int64_t* labels,
        const std::string& device);

} // namespace faiss_flash
