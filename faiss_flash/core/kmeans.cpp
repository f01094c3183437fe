#include <faiss_flash/kmeans.h>

#include <faiss_flash/core/arguments.h>
#include <faiss_flash/core/assign.h>
#include <faiss_flash/core/backend.h>
#include <faiss_flash/core/checkpoint.h>
#include <faiss_flash/core/device_choice.h>
#include <faiss_flash/core/interrupt.h>
#include <faiss_flash/core/lloyd.h>
#include <faiss_flash/core/non_finite.h>
#include <faiss_flash/core/progress.h>
#include <faiss_flash/core/sampling.h>

#include <algorithm>
#include <chrono>
#include <cinttypes>
#include <cstdio>
#include <iterator>
#include <numeric>
#include <optional>
#include <string>
#include <utility>

namespace faiss_flash {

Error::~Error() = default;
InvalidArgument::~InvalidArgument() = default;
OutOfDeviceMemory::~OutOfDeviceMemory() = default;
RowDecoder::~RowDecoder() = default;

namespace {

/// True where FAISS would train on a sample.
bool needs_sample(int64_t n, int64_t k, int64_t max_points_per_centroid) {
    return max_points_per_centroid > 0 && n / k >= max_points_per_centroid &&
           n > k * max_points_per_centroid;
}

int64_t points_trained_on(int64_t n, int64_t k, const KMeansOptions& options) {
    return needs_sample(n, k, options.max_points_per_centroid) ? k * options.max_points_per_centroid
                                                               : n;
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
KMeansResult copy_points(const Backend& backend, const VectorView& view, int64_t k, bool verbose) {
    if (verbose) {
        std::printf(
                "Number of training points (%" PRId64
                ") same as number of clusters, just copying\n",
                k);
    }
    KMeansResult result;
    result.k = k;
    result.d = view.d;
    result.centroids.resize(static_cast<size_t>(k * view.d));
    std::vector<int64_t> rows(static_cast<size_t>(k));
    std::iota(rows.begin(), rows.end(), 0);
    backend.read_rows(Points(view), rows.data(), k, result.centroids.data());
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
        rows.copy_row(points.source_row(i), gathered.data() + i);
    }
    return gathered;
}

Estimate estimate_on(
        const Backend& backend, const Workload& workload, const KMeansOptions& options) {
    const VectorView host_rows;
    return on_backend_or_host(backend, host_rows, [&](const Backend& chosen) {
        const Expectation expected = chosen.expect(workload);
        Estimate result;
        result.device = chosen.name();
        result.host_bytes = expected.host_bytes;
        result.device_bytes = expected.device_bytes;
        result.seconds =
                expected.open_seconds + expected.iteration_seconds * options.niter * options.nredo;
        return result;
    });
}

void print_plan(
        const Backend& backend,
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
    const Workload workload =
            workload_of(input.points, input.weights.data != nullptr, 1, points.n(), k, options);
    const Estimate expected = estimate_on(backend, workload, options);
    std::printf(
            "  Expecting %.3g s, %.4g MiB of the host and %.4g MiB of a GPU on %s\n",
            expected.seconds,
            static_cast<double>(expected.host_bytes) / (1 << 20),
            static_cast<double>(expected.device_bytes) / (1 << 20),
            expected.device.c_str());
}

/// Of all points, before any are sampled. Rows behind a decoder take long to read: these are looked
/// at later, as far as they are trained on.
void reject_non_finite_points(
        const Backend& backend, const std::vector<const KMeansInput*>& inputs) {
    std::vector<Points> doubtful;
    for (const KMeansInput* input : inputs) {
        if (!input->points.decoder && has_non_finite(input->points.dtype)) {
            doubtful.emplace_back(input->points);
        }
    }
    const bool on_device = inputs.front()->points.space == MemorySpace::device;
    if (const auto bad = (on_device ? backend : host_backend()).find_non_finite(doubtful)) {
        reject_non_finite("points", *bad);
    }
}

void reject_non_finite_codes(const Points& points) {
    if (points.view().decoder) {
        if (const auto bad = host_backend().find_non_finite({points})) {
            reject_non_finite("points", {points.source_row(bad->row), bad->column});
        }
    }
}

/// Problems of equal n and d on one backend.
std::vector<KMeansResult> train(
        const Backend& backend,
        const std::vector<const KMeansInput*>& inputs,
        int64_t k,
        const KMeansOptions& options,
        Checkpoint* checkpoint) {
    const auto start = std::chrono::steady_clock::now();
    std::vector<Problem> problems;
    std::vector<std::vector<float>> weights;
    std::vector<std::vector<float>> initial;
    std::vector<KMeansResult> results;
    const KMeansInput& front = *inputs.front();
    const bool all_trained_on = points_trained_on(front.points.n, k, options) == front.points.n;
    // A scan reads what is clustered.
    const bool scanned =
            backend.scan_checks() && all_trained_on && front.points.n > k && options.niter > 0;
    const auto reject_non_finite = [&] {
        reject_non_finite_points(backend, inputs);
        for (const Problem& problem : problems) {
            reject_non_finite_codes(problem.points);
        }
    };
    for (const KMeansInput* input : inputs) {
        Points points = choose_training_points(input->points, k, options);
        if (options.algorithm == Algorithm::e_means) {
            const auto seed = static_cast<uint64_t>(resolve_seed(options.seed));
            points = points.in_order(RowOrder::shuffled(points.n(), seed));
        }
        problems.push_back({std::move(points)});
    }
    if (!scanned) {
        reject_non_finite();
    }
    for (size_t b = 0; b < inputs.size(); b++) {
        const KMeansInput* input = inputs[b];
        if (problems[b].points.n() == k) {
            results.push_back(copy_points(backend, input->points, k, options.verbose));
            continue;
        }
        weights.push_back(gather_weights(input->weights, problems[b].points));
        const int64_t given = std::min(k, input->initial_centroids.n);
        initial.push_back(
                given > 0 ? to_floats(input->initial_centroids, given) : std::vector<float>());
    }
    if (!results.empty()) {
        return results; // n is the same for all
    }
    for (size_t b = 0; b < problems.size(); b++) {
        problems[b].weights = weights[b].empty() ? nullptr : weights[b].data();
    }
    if (options.verbose) {
        const std::chrono::duration<double> spent = std::chrono::steady_clock::now() - start;
        const int64_t given = std::min(k, front.initial_centroids.n);
        print_plan(backend, front, problems.front().points, k, given, spent.count(), options);
    }
    int64_t told = 0; // iterations that the callback has seen: a second try repeats them
    const auto run = [&](const Backend& chosen) {
        KMeansOptions once = options;
        if (&chosen != &backend && scanned) {
            reject_non_finite();
        }
        if (options.verbose && &chosen != &backend) {
            std::printf("  %s cannot hold it: running on the CPU\n", backend.name());
        }
        int64_t calls = 0;
        if (options.callback) {
            once.callback = [&](const IterationStats& stats, double seconds_left) {
                if (calls++ < told) {
                    return true;
                }
                told++;
                return options.callback(stats, seconds_left);
            };
        }
        return run_lloyd(chosen, problems, initial, k, once, checkpoint);
    };
    try {
        return on_backend_or_host(backend, front.points, run);
    } catch (const NonFiniteRows&) {
        reject_non_finite(); // throws: it finds the place
        throw;
    }
}

/// Fills the assignments and distances of problems that ran together, where run_lloyd() has not.
void assign_points(
        const Backend& backend,
        const std::vector<const KMeansInput*>& inputs,
        const KMeansOptions& options,
        std::vector<KMeansResult>& results) {
    if (results.front().assignment.empty()) {
        std::vector<Assignment> problems;
        for (size_t i = 0; i < inputs.size(); i++) {
            const Points points(inputs[i]->points);
            problems.push_back(assignment_into(results[i], points, options.memory_limit));
        }
        on_backend_or_host(backend, inputs.front()->points, [&](const Backend& chosen) {
            chosen.assign_batch(problems, results.front().k, options.metric);
        });
    }
    for (size_t i = 0; i < inputs.size(); i++) {
        require_centroids(backend, inputs[i]->points, results[i].assignment.data());
    }
}

Workload workload_of_group(
        const std::vector<const KMeansInput*>& inputs, int64_t k, const KMeansOptions& options) {
    const KMeansInput& first = *inputs.front();
    return workload_of(
            first.points,
            first.weights.data != nullptr,
            static_cast<int64_t>(inputs.size()),
            points_trained_on(first.points.n, k, options),
            k,
            options);
}

double iterations_of(const KMeansOptions& options) {
    return static_cast<double>(options.niter) * options.nredo + (options.return_assignment ? 1 : 0);
}

const Backend& fastest_for(
        const std::vector<const KMeansInput*>& inputs, int64_t k, const KMeansOptions& options) {
    const Workload workload = workload_of_group(inputs, k, options);
    const VectorView& points = inputs.front()->points;
    return fastest_backend(points, workload, iterations_of(options), options.device);
}

/// Problems of equal n and d, as many at a time as the backend can have open.
std::vector<KMeansResult> train_group(
        const Backend& backend,
        const std::vector<const KMeansInput*>& inputs,
        int64_t k,
        const KMeansOptions& options,
        Checkpoint* checkpoint) {
    const KMeansInput& first = *inputs.front();
    const Workload workload = workload_of_group(inputs, k, options);
    const int64_t most = on_backend_or_host(backend, first.points, [&](const Backend& chosen) {
        return chosen.most_together(workload);
    });
    std::vector<KMeansResult> results;
    for (int64_t begin = 0; begin < workload.batch; begin += most) {
        const int64_t end = begin + std::min(most, workload.batch - begin);
        const std::vector<const KMeansInput*> part(inputs.begin() + begin, inputs.begin() + end);
        std::vector<KMeansResult> trained;
        try {
            trained = train(backend, part, k, options, checkpoint);
            if (options.return_assignment) {
                assign_points(backend, part, options, trained);
            }
        } catch (const BeyondFast&) {
            KMeansOptions exact = options;
            exact.precision = Precision::exact;
            trained = train_group(backend, part, k, exact, checkpoint);
        }
        std::move(trained.begin(), trained.end(), std::back_inserter(results));
    }
    return results;
}

/// Those that can run together share n, d, where their points are and what is known of them.
bool alike(const KMeansInput& a, const KMeansInput& b) {
    return a.points.n == b.points.n && a.points.d == b.points.d &&
           a.points.dtype == b.points.dtype && a.points.space == b.points.space &&
           a.points.decoder == nullptr && b.points.decoder == nullptr &&
           a.weights.data == nullptr && b.weights.data == nullptr &&
           a.initial_centroids.n == b.initial_centroids.n;
}

} // namespace

KMeansResult kmeans(const KMeansInput& input, int64_t k, const KMeansOptions& options) {
    return std::move(batch_kmeans({input}, k, options).front());
}

std::vector<KMeansResult> batch_kmeans(
        const std::vector<KMeansInput>& problems, int64_t k, const KMeansOptions& options) {
    const Polling polling(options.poll);
    const ProgressLines lines(options.verbose);
    check_batch_arguments(problems, k, options);
    KMeansOptions settled = options;
    std::optional<Checkpoint> checkpoint;
    if (!options.checkpoint.empty()) {
        checkpoint.emplace(options);
        settled.seed = checkpoint->seed();
    }
    std::vector<const Backend*> backends(problems.size()); // null: what is fastest
    std::transform(
            problems.begin(), problems.end(), backends.begin(), [&](const KMeansInput& problem) {
                return chooses_by_time(problem.points, options.precision, options.device)
                               ? nullptr
                               : &backend_for(problem.points, options.device);
            });
    std::vector<KMeansResult> results(problems.size());
    std::vector<bool> done(problems.size(), false);
    for (size_t first = 0; first < problems.size(); first++) {
        if (done[first]) {
            continue;
        }
        std::vector<const KMeansInput*> inputs;
        std::vector<size_t> members;
        for (size_t b = first; b < problems.size(); b++) {
            const bool together = b == first || (settled.algorithm == Algorithm::lloyd &&
                                                 backends[b] == backends[first] &&
                                                 alike(problems[first], problems[b]));
            if (!done[b] && together) {
                inputs.push_back(&problems[b]);
                members.push_back(b);
                done[b] = true;
            }
        }
        const Backend& backend =
                backends[first] ? *backends[first] : fastest_for(inputs, k, settled);
        auto trained =
                train_group(backend, inputs, k, settled, checkpoint ? &*checkpoint : nullptr);
        for (size_t i = 0; i < members.size(); i++) {
            results[members[i]] = std::move(trained[i]);
        }
    }
    return results;
}

Estimate estimate(
        int64_t n, int64_t d, int64_t k, const KMeansOptions& options, DType dtype, int64_t batch) {
    for (const auto& [name, value] :
         {std::pair{"n", n}, std::pair{"d", d}, std::pair{"k", k}, std::pair{"batch", batch}}) {
        if (value <= 0) {
            throw InvalidArgument(
                    std::string(name) + "=" + std::to_string(value) + " must be positive");
        }
    }
    if (n < k) {
        throw InvalidArgument("k=" + std::to_string(k) + " exceeds n=" + std::to_string(n));
    }
    const int64_t points = points_trained_on(n, k, options);
    if (static_cast<double>(batch) * static_cast<double>(points) * static_cast<double>(d) > 1e17) {
        throw InvalidArgument(
                "batch=" + std::to_string(batch) + " problems of " + std::to_string(points) +
                " points of d=" + std::to_string(d) + " overflow the address space");
    }
    VectorView view;
    view.d = d;
    view.dtype = dtype;
    const Workload workload = workload_of(view, false, batch, points, k, options);
    const Backend& backend =
            expected_backend(view, workload, iterations_of(options), options.device);
    Estimate result = estimate_on(backend, workload, options);
    result.host_bytes += points < n ? 8 * points * batch : 0; // the numbers of a sample's rows
    return result;
}

std::vector<std::string> available_backends() {
    std::vector<std::string> names;
    for (const Backend* backend : backends()) {
        names.emplace_back(backend->name());
    }
    return names;
}

} // namespace faiss_flash
