#include <faiss_flash/core/arguments.h>

#include <faiss_flash/core/backend.h>
#include <faiss_flash/core/points.h>

#include <cmath>
#include <limits>
#include <string>

namespace faiss_flash {

namespace {

std::string named(const std::string& name, int64_t value) {
    return name + "=" + std::to_string(value);
}

void reject(const std::string& message) {
    throw InvalidArgument(message);
}

void require(bool ok, const std::string& message) {
    if (!ok) {
        reject(message);
    }
}

/// a * b without overflow of int64_t, for a, b >= 0.
bool product_fits(int64_t a, int64_t b) {
    return b == 0 || a <= std::numeric_limits<int64_t>::max() / b;
}

void check_count(const char* name, int64_t value) {
    require(value > 0, named(name, value) + " must be positive");
}

} // namespace

void check_view(const VectorView& view, const char* name) {
    const std::string prefix(name);
    require(view.n >= 0, named(prefix + ".n", view.n) + " must not be negative");
    require(view.d > 0, named(prefix + ".d", view.d) + " must be positive");
    require(view.row_stride >= 0,
            named(prefix + ".row_stride", view.row_stride) + " must not be negative");
    require(view.data != nullptr || view.n == 0,
            prefix + ".data is null with " + named(prefix + ".n", view.n));
    require(view.space != MemorySpace::device || !view.decoder,
            prefix + ".space is device memory, which a decoder cannot read");
    // Rows are also held as float32, so both the caller's bytes and ours must be countable.
    const auto too_large = named(prefix + ".n", view.n) + " rows of " + named("d", view.d) +
                           " overflow the address space";
    require(product_fits(view.d, 8) && product_fits(view.n, view.d * 8), too_large);
    if (view.decoder) {
        require(view.row_stride > 0, prefix + ".row_stride=0 with a decoder: rows have no size");
    } else if (view.row_stride != 0) {
        require(view.row_stride >= view.d * dtype_size(view.dtype),
                named(prefix + ".row_stride", view.row_stride) + " is less than a row of " +
                        named("d", view.d));
    }
    require(product_fits(view.n, view.row_stride), too_large);
}

void check_host_view(const VectorView& view, const char* name) {
    check_view(view, name);
    require(view.space != MemorySpace::device,
            std::string(name) + ".space is device memory; only points may lie there");
}

void check_metric(Metric metric) {
    require(metric == Metric::l2 || metric == Metric::inner_product,
            named("metric", static_cast<int>(metric)) + " is not a Metric");
}

void check_algorithm(const KMeansOptions& options) {
    require(options.algorithm == Algorithm::lloyd || options.algorithm == Algorithm::e_means,
            named("algorithm", static_cast<int>(options.algorithm)) + " is not an Algorithm");
    require(options.operating_point == OperatingPoint::throughput ||
                    options.operating_point == OperatingPoint::quality,
            named("operating_point", static_cast<int>(options.operating_point)) +
                    " is not an OperatingPoint");
    require(options.batch_size >= 0, named("batch_size", options.batch_size) + " must be positive");
    const std::string alpha0 = "alpha0=" + std::to_string(options.alpha0);
    require(options.alpha0 >= 0 && options.alpha0 <= 1, alpha0 + " must be in (0, 1]");
    require((options.batch_size > 0) == (options.alpha0 > 0),
            named("batch_size", options.batch_size) + " and " + alpha0 + " belong together");
}

void check_kmeans_arguments(const KMeansInput& input, int64_t k, const KMeansOptions& options) {
    check_view(input.points, "points");
    check_count("k", k);
    require(k <= std::numeric_limits<int32_t>::max(), named("k", k) + " exceeds 2^31 - 1");
    const int64_t n = input.points.n;
    require(n >= k,
            "Number of training points (n=" + std::to_string(n) +
                    ") should be at least as large as number of clusters (k=" + std::to_string(k) +
                    ")");
    require(product_fits(k, input.points.d * 8),
            named("k", k) + " centroids of " + named("d", input.points.d) +
                    " overflow the address space");
    check_metric(options.metric);
    require(options.precision == Precision::exact || options.precision == Precision::fast,
            named("precision", static_cast<int>(options.precision)) + " is not a Precision");
    check_algorithm(options);
    require(options.memory_limit >= 0,
            named("memory_limit", options.memory_limit) + " must not be negative");
    require(options.niter >= 0, named("niter", options.niter) + " must not be negative");
    check_count("nredo", options.nredo);
    require(options.max_points_per_centroid != 0,
            "max_points_per_centroid=0 leaves no training points; negative means no limit");
    require(!options.resume || !options.checkpoint.empty(),
            "resume=true needs a checkpoint to go on from");
    require(options.checkpoint.find('\0') == std::string::npos,
            std::string("checkpoint=") + options.checkpoint.c_str() + " has a null character next");
    if (options.early_stop_threshold) {
        require(!std::isnan(*options.early_stop_threshold), "early_stop_threshold=nan");
    }
    if (input.weights.data) {
        check_host_view(input.weights, "weights");
        require(input.weights.dtype == DType::f32 && input.weights.d == 1 && !input.weights.decoder,
                "weights must be [n x 1] float32, " + named("got d", input.weights.d));
        require(input.weights.n == n,
                named("weights.n", input.weights.n) + " does not match " + named("points.n", n));
        check_weights(input.weights);
    }
    if (input.initial_centroids.data) {
        check_host_view(input.initial_centroids, "initial_centroids");
        require(input.initial_centroids.d == input.points.d,
                named("initial_centroids.d", input.initial_centroids.d) + " does not match " +
                        named("points.d", input.points.d));
        check_finite_rows(input.initial_centroids, "initial_centroids");
    }
}

void check_batch_arguments(
        const std::vector<KMeansInput>& problems, int64_t k, const KMeansOptions& options) {
    for (const KMeansInput& problem : problems) {
        check_kmeans_arguments(problem, k, options);
    }
    require(options.checkpoint.empty() || problems.size() <= 1,
            "checkpoint=" + options.checkpoint + " is for one clustering, not for " +
                    std::to_string(problems.size()));
}

void check_weights(const VectorView& weights) {
    const Points rows(weights);
    bool any = false;
    for (int64_t i = 0; i < weights.n; i++) {
        float scratch;
        const float w = *rows.read(i, 1, &scratch).data;
        if (!(std::isfinite(w) && w >= 0)) { // messages take long to make
            reject("weights[" + std::to_string(i) + "]=" + std::to_string(w) +
                   " must be finite and not negative");
        }
        any = any || w > 0;
    }
    require(any, "weights are all 0 (weights.n=" + std::to_string(weights.n) + ")");
}

void check_finite_rows(const VectorView& view, const char* name) {
    const Points rows(view);
    if (const auto bad = host_backend().find_non_finite({rows})) { // by all threads
        std::vector<float> row(static_cast<size_t>(view.d));
        rows.copy_row(bad->row, row.data());
        const float value = row[static_cast<size_t>(bad->column)];
        reject(std::string(name) + "[" + std::to_string(bad->row) + "][" +
               std::to_string(bad->column) + "]=" + std::to_string(value) +
               ": input contains NaN's or Inf's");
    }
}

} // namespace faiss_flash
