/// FAISS's clustering parameters as the engine's options.
#pragma once

#include <faiss/Clustering.h>
#include <faiss_flash/kmeans.h>

#include <string>

namespace faiss_flash {

/// Where a training runs, and by what algorithm its k-means (algorithm_named()).
struct Service {
    std::string device = "auto";
    std::string algorithm = "default";
};

/// False for initialisations that only FAISS has.
bool engine_takes(const faiss::ClusteringParameters& cp);

/// The options; an interrupt that FAISS notices ends the run.
KMeansOptions engine_options(
        const faiss::ClusteringParameters& cp, Metric metric, const Service& service);

} // namespace faiss_flash
