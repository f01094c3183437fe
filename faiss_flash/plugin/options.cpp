#include <faiss_flash/plugin/options.h>

#include <faiss_flash/plugin/errors.h>
#include <faiss_flash/plugin/faiss_version.h>
#include <faiss_flash/plugin/interrupt.h>

#include <cstdint>

namespace faiss_flash {

bool engine_takes(const faiss::ClusteringParameters& cp) {
#if FAISS_FLASH_FAISS_AT_LEAST(1, 14, 0)
    return cp.init_method == faiss::ClusteringInitMethod::RANDOM;
#else
    (void)cp;
    return true;
#endif
}

KMeansOptions engine_options(
        const faiss::ClusteringParameters& cp, Metric metric, const Service& service) {
    KMeansOptions options;
    options.metric = metric;
    options.device = service.device;
    options.algorithm = with_faiss_errors([&] { return algorithm_named(service.algorithm); });
    options.niter = options.algorithm == Algorithm::e_means ? epochs_for(cp.niter) : cp.niter;
    options.nredo = cp.nredo;
    options.verbose = cp.verbose;
    options.spherical = cp.spherical;
    options.int_centroids = cp.int_centroids;
    options.frozen_centroids = cp.frozen_centroids;
    options.min_points_per_centroid = cp.min_points_per_centroid;
    options.max_points_per_centroid = cp.max_points_per_centroid;
#if FAISS_FLASH_FAISS_AT_LEAST(1, 9, 0)
    options.seed = cp.seed;
    options.use_faster_subsampling = cp.use_faster_subsampling;
#else
    options.seed = static_cast<uint32_t>(cp.seed); // before 1.9 a negative seed is its bits
#endif
#if FAISS_FLASH_FAISS_AT_LEAST(1, 14, 2)
    options.early_stop_threshold = cp.early_stop_threshold;
#elif FAISS_FLASH_FAISS_AT_LEAST(1, 14, 0)
    options.early_stop_threshold = 0.0;
#else
    options.early_stop_threshold.reset();
#endif
    options.poll = interrupt_poll();
    return options;
}

} // namespace faiss_flash
