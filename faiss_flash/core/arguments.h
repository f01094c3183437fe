/// Checks of what callers pass; every message names the argument and its value.
#pragma once

#include <faiss_flash/kmeans.h>

#include <cstdint>
#include <vector>

namespace faiss_flash {

/// Rejects null, negative, overlapping or overflowing views. `name` is the argument's name.
void check_view(const VectorView& view, const char* name);

/// The same, and rows that the host cannot read.
void check_host_view(const VectorView& view, const char* name);

/// A value that the caller cast to the type may be none of its names.
void check_metric(Metric metric);

/// KMeansOptions::algorithm and what belongs to it.
void check_algorithm(const KMeansOptions& options);

/// Everything about kmeans()'s arguments that can be told without reading the points.
void check_kmeans_arguments(const KMeansInput& input, int64_t k, const KMeansOptions& options);

/// The same of several problems, and of what only one can have.
void check_batch_arguments(
        const std::vector<KMeansInput>& problems, int64_t k, const KMeansOptions& options);

/// Weights must be finite, >= 0 and not all 0.
void check_weights(const VectorView& weights);

/// Initial centroids and assign()'s centroids must be finite.
void check_finite_rows(const VectorView& rows, const char* name);

} // namespace faiss_flash
