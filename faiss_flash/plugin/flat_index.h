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

/// index.search() for the nearest vector of each of n queries, by the engine where these are
/// enough. A query with a NaN or an Inf, or of an empty index, gets the label -1.
/// @param x          [n x d]
/// @param distances  [n]
/// @param labels     [n]
/// @param device     see KMeansOptions::device
/// Throws faiss::FaissException for a device that there is not, and when interrupted.
void search_nearest(
        const faiss::IndexFlat& index,
        int64_t n,
        const float* x,
        float* distances,
        int64_t* labels,
        const std::string& device);

/// index.assign() for n rows that are to be added, in the same way; but a row with a NaN or an Inf
/// is a faiss::FaissException naming x.
void assign_rows(
        const faiss::IndexFlat& index,
        int64_t n,
        const float* x,
        int64_t* labels,
        const std::string& device);

} // namespace faiss_flash
