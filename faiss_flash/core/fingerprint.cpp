#include <faiss_flash/core/fingerprint.h>

#include <faiss_flash/core/hash.h>

#include <algorithm>
#include <iomanip>
#include <limits>
#include <locale>
#include <sstream>

namespace faiss_flash {

namespace {

constexpr int64_t kMostRows = 1024;
constexpr int64_t kMostValues = int64_t{1} << 20; // of rows that are read at a time

std::string decisive_options(
        const Backend& backend, const VectorView& points, int64_t k, const KMeansOptions& options) {
    std::ostringstream text;
    text.exceptions(std::ios::badbit); // else it leaves out what it has no memory for
    text.imbue(std::locale::classic());
    text << std::boolalpha << std::setprecision(std::numeric_limits<double>::max_digits10);
    text << "n=" << points.n << " d=" << points.d << " k=" << k
         << " metric=" << (options.metric == Metric::l2 ? "l2" : "inner_product");
    // On the host fast is the same as exact.
    if (options.precision == Precision::fast && &backend != &host_backend()) {
        text << " precision=fast,dtype:" << static_cast<int>(points.dtype)
             << ",device:" << backend.name();
    } else {
        text << " precision=exact";
    }
    text << " algorithm=";
    if (options.algorithm == Algorithm::lloyd) {
        text << "lloyd";
    } else {
        const EmeansRecipe recipe = e_means_recipe(points.n, k, options);
        text << "e_means,batch_size:" << recipe.batch_size << ",alpha0:" << recipe.alpha0;
    }
    text << " niter=" << options.niter << " nredo=" << options.nredo
         << " spherical=" << options.spherical << " int_centroids=" << options.int_centroids
         << " frozen_centroids=" << options.frozen_centroids
         << " max_points_per_centroid=" << options.max_points_per_centroid
         << " use_faster_subsampling=" << options.use_faster_subsampling << " seed=";
    if (options.seed < 0) {
        text << "clock";
    } else {
        text << options.seed;
    }
    text << " early_stop_threshold=";
    if (options.early_stop_threshold) {
        text << *options.early_stop_threshold;
    } else {
        text << "none";
    }
    return text.str();
}

uint64_t hash_of_points(const Backend& backend, const Problem& problem) {
    const int64_t n = problem.points.n();
    const int64_t d = problem.points.d();
    const int64_t count = std::min(n, kMostRows);
    std::vector<int64_t> rows(static_cast<size_t>(count));
    for (int64_t i = 0; i < count; i++) {
        rows[static_cast<size_t>(i)] = i * n / count; // n < 2^53: n rows are countable in bytes
    }
    const int64_t together = std::clamp<int64_t>(kMostValues / d, 1, count);
    std::vector<float> values(static_cast<size_t>(together * d));
    Hash hash;
    for (int64_t first = 0; first < count; first += together) {
        const int64_t now = std::min(together, count - first);
        backend.read_rows(problem.points, rows.data() + first, now, values.data());
        hash.add(values.data(), static_cast<size_t>(now * d) * sizeof(float));
    }
    return hash.value();
}

uint64_t hash_of(const float* values, int64_t count) {
    Hash hash;
    hash.add(&count, sizeof count);
    hash.add(values, static_cast<size_t>(count) * sizeof(float));
    return hash.value();
}

/// The words of `stored` that `now` has otherwise.
std::string other_words(const std::string& stored, const std::string& now) {
    std::istringstream of_stored(stored);
    std::istringstream of_now(now);
    std::string text;
    std::string theirs;
    std::string mine;
    while (of_stored >> theirs && of_now >> mine) {
        if (theirs != mine) {
            text.append(text.empty() ? "" : ", ").append(theirs);
            text.append(" (here ").append(mine).append(")");
        }
    }
    return text.empty() ? "other options" : text;
}

} // namespace

Fingerprint fingerprint_of(
        const Backend& backend,
        const Problem& problem,
        const std::vector<float>& initial,
        int64_t k,
        const KMeansOptions& options) {
    Fingerprint fingerprint;
    fingerprint.options = decisive_options(backend, problem.points.view(), k, options);
    fingerprint.points = hash_of_points(backend, problem);
    fingerprint.weights = hash_of(problem.weights, problem.weights ? problem.points.n() : 0);
    fingerprint.initial_centroids = hash_of(initial.data(), static_cast<int64_t>(initial.size()));
    return fingerprint;
}

uint64_t hash_of(const RowFacts& facts) {
    Hash hash;
    for (const ColumnRange& range : facts) {
        for (const std::vector<double>* values : {&range.largest, &range.smallest}) {
            hash.add(values->data(), values->size() * sizeof(double));
        }
    }
    return hash.value();
}

std::string difference(const Fingerprint& stored, const Fingerprint& now) {
    if (stored.options != now.options) {
        return other_words(stored.options, now.options);
    }
    if (stored.initial_centroids != now.initial_centroids) {
        return "other initial_centroids";
    }
    if (stored.weights != now.weights) {
        return "other weights";
    }
    return stored.points != now.points ? "other points" : "";
}

} // namespace faiss_flash
