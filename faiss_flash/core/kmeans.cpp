#include <faiss_flash/kmeans.h>

#include <faiss_flash/core/arguments.h>
#include <faiss_flash/core/backend.h>
#include <faiss_flash/core/lloyd.h>
#include <faiss_flash/core/sampling.h>

#include <algorithm>
#include <chrono>
#include <cinttypes>
#include <cstdio>
#include <limits>
#include <string>

namespace faiss_flash {

Error::~Error() = default;
InvalidArgument::~InvalidArgument() = default;
RowDecoder::~RowDecoder() = default;

namespace {

void reject_non_finite(const char* name, int64_t row, int64_t column) {
    throw InvalidArgument(
            std::string(name) + "[" + std::to_string(row) + "][" + std::to_string(column) +
            "] is not finite: input contains NaN's or Inf's");
}

/// Rows as packed float32.
std::vector<float> to_floats(const VectorView& view, int64_t rows) {
    std::vector<float> floats(static_cast<size_t>(rows * view.d));
    const Points points(view);
    for (int64_t i = 0; i < rows; i++) {
        float* out = floats.data() + i * view.d;
        const float* row = points.read(i, 1, out).data;
        if (row != out) {
            std::copy_n(row, view.d, out);
        }
    }
    return floats;
}

/// True where FAISS would train on a sample.
bool needs_sample(int64_t n, int64_t k, int64_t max_points_per_centroid) {
    return max_points_per_centroid > 0 && n / k >= max_points_per_centroid &&
           n > k * max_points_per_centroid;
}

/// The points FAISS would train on, in its order.
Points choose_training_points(const VectorView& view, int64_t k, const KMeansOptions& options) {
    if (!needs_sample(view.n, k, options.max_points_per_centroid)) {
        const int64_t wanted = options.min_points_per_centroid;
        if (wanted > 0 && (k > view.n / wanted && view.n < k * wanted)) {
            std::fprintf(
                    stderr,
                    "WARNING clustering %" PRId64 " points to %" PRId64
                    " centroids: please provide at least %" PRId64 " training points\n",
                    view.n,
                    k,
                    k * wanted);
        }
        return Points(view);
    }
    const int64_t m = k * options.max_points_per_centroid;
    if (options.verbose) {
        std::printf("Sampling a subset of %" PRId64 " / %" PRId64 " for training\n", m, view.n);
    }
    const int64_t seed = resolve_seed(options.seed);
    return Points(
            view,
            options.use_faster_subsampling ? draw_with_replacement(view.n, m, seed)
                                           : permutation_head(view.n, m, seed));
}

/// As many points as centroids: FAISS copies the first k rows of the input and ignores the rest.
KMeansResult copy_points(const VectorView& view, int64_t k, bool verbose) {
    if (verbose) {
        std::printf(
                "Number of training points (%" PRId64
                ") same as number of clusters, just copying\n",
                k);
    }
    KMeansResult result;
    result.k = k;
    result.d = view.d;
    result.centroids = to_floats(view, k);
    result.iterations.emplace_back();
    return result;
}

std::vector<float> gather_weights(const VectorView& weights, const Points& points) {
    if (!weights.data) {
        return {};
    }
    const Points rows(weights);
    std::vector<float> gathered(static_cast<size_t>(points.n()));
    for (int64_t i = 0; i < points.n(); i++) {
        float scratch;
        gathered[static_cast<size_t>(i)] = *rows.read(points.source_row(i), 1, &scratch).data;
    }
    return gathered;
}

void print_plan(
        const KMeansInput& input,
        const Points& points,
        int64_t k,
        int64_t given,
        double preprocessing_seconds,
        const KMeansOptions& options) {
    std::printf(
            "Clustering %" PRId64 " points in %" PRId64 "D to %" PRId64
            " clusters, redo %d times, %d iterations\n",
            points.n(),
            points.d(),
            k,
            options.nredo,
            options.niter);
    if (input.points.decoder) {
        std::printf(
                "Input data encoded in %" PRId64 " bytes per vector\n", input.points.row_stride);
    }
    if (given > 0) {
        std::printf(
                "  Using %" PRId64 " centroids provided as input (%sfrozen)\n",
                given,
                options.frozen_centroids ? "" : "not ");
    }
    std::printf("  Preprocessing in %.2f s\n", preprocessing_seconds);
}

KMeansResult train(
        const Backend& backend, const KMeansInput& input, int64_t k, const KMeansOptions& options) {
    const auto start = std::chrono::steady_clock::now();
    if (!input.points.decoder && has_non_finite(input.points.dtype)) {
        if (const auto bad = backend.find_non_finite(Points(input.points))) {
            reject_non_finite("points", bad->row, bad->column);
        }
    }
    const Points points = choose_training_points(input.points, k, options);
    if (points.n() == k) {
        return copy_points(input.points, k, options.verbose);
    }
    const auto weights = gather_weights(input.weights, points);
    const int64_t given = std::min(k, input.initial_centroids.n);
    std::vector<float> initial;
    if (given > 0) {
        initial = to_floats(input.initial_centroids, given);
    }
    if (options.verbose) {
        const std::chrono::duration<double> spent = std::chrono::steady_clock::now() - start;
        print_plan(input, points, k, given, spent.count(), options);
    }
    return run_lloyd(
            backend, points, weights.empty() ? nullptr : weights.data(), initial, k, options);
}

} // namespace

KMeansResult kmeans(const KMeansInput& input, int64_t k, const KMeansOptions& options) {
    check_kmeans_arguments(input, k, options);
    const Backend& backend = backend_for(input.points.space);
    KMeansResult result = train(backend, input, k, options);
    if (options.return_assignment) {
        const auto n = static_cast<size_t>(input.points.n);
        result.assignment.resize(n);
        result.distances.resize(n);
        backend.assign(
                Points(input.points),
                result.centroids.data(),
                k,
                options.metric,
                result.assignment.data(),
                result.distances.data());
    }
    return result;
}

std::vector<KMeansResult> batch_kmeans(
        const std::vector<KMeansInput>& problems, int64_t k, const KMeansOptions& options) {
    for (const KMeansInput& problem : problems) {
        check_kmeans_arguments(problem, k, options);
    }
    std::vector<KMeansResult> results;
    results.reserve(problems.size());
    for (const KMeansInput& problem : problems) {
        results.push_back(kmeans(problem, k, options));
    }
    return results;
}

void assign(
        const VectorView& points,
        const VectorView& centroids,
        Metric metric,
        int64_t* ids,
        float* distances) {
    check_view(points, "points");
    check_view(centroids, "centroids");
    if (centroids.n == 0 || centroids.n > std::numeric_limits<int32_t>::max()) {
        throw InvalidArgument(
                "centroids.n=" + std::to_string(centroids.n) + " must be 1 to 2^31 - 1");
    }
    if (centroids.d != points.d) {
        throw InvalidArgument(
                "centroids.d=" + std::to_string(centroids.d) +
                " does not match points.d=" + std::to_string(points.d));
    }
    if (!ids && points.n > 0) {
        throw InvalidArgument("ids is null with points.n=" + std::to_string(points.n));
    }
    check_finite_rows(centroids, "centroids");
    const auto table = to_floats(centroids, centroids.n);
    const Backend& backend = backend_for(points.space);
    backend.assign(Points(points), table.data(), centroids.n, metric, ids, distances);
    const int64_t* bad = std::find(ids, ids + points.n, int64_t{-1});
    if (bad != ids + points.n) {
        const auto where = backend.find_non_finite(Points(points));
        reject_non_finite("points", bad - ids, where ? where->column : 0);
    }
}

std::vector<std::string> available_backends() {
    std::vector<std::string> names;
    for (const Backend* backend : backends()) {
        names.emplace_back(backend->name());
    }
    return names;
}

} // namespace faiss_flash
