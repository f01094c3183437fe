#include <faiss_flash/opq.h>

#include <faiss_flash/core/arguments.h>
#include <faiss_flash/core/interrupt.h>
#include <faiss_flash/core/linear_algebra.h>
#include <faiss_flash/core/parallel.h>
#include <faiss_flash/core/points.h>

#include <algorithm>
#include <cstdio>
#include <numeric>
#include <string>

namespace faiss_flash {

namespace {

constexpr int64_t kRows = 1024; // of a loop's pieces

void check_input(const OpqInput& input) {
    check_host_view(input.points, "points");
    const auto reject = [](const std::string& text) { throw InvalidArgument(text); };
    if (input.d_out <= 0) {
        reject("d_out=" + std::to_string(input.d_out) + " must be positive");
    }
    if (input.subspaces <= 0 || input.d_out % input.subspaces != 0) {
        reject("subspaces=" + std::to_string(input.subspaces) +
               " does not divide d_out=" + std::to_string(input.d_out));
    }
    const int64_t d = std::max(input.points.d, input.d_out);
    if (static_cast<int64_t>(input.rotation.size()) != d * input.d_out) {
        reject("rotation has " + std::to_string(input.rotation.size()) + " values, expected " +
               std::to_string(input.d_out) + " x " + std::to_string(d));
    }
    for (const auto& [name, value] :
         {std::pair{"niter", input.niter},
          std::pair{"niter_first", input.niter_first},
          std::pair{"niter_later", input.niter_later}}) {
        if (value < 0) {
            reject(std::string(name) + "=" + std::to_string(value) + " must not be negative");
        }
    }
}

/// The points less their mean, as [n x d] with zeros in columns that they do not have.
std::vector<float> centred(const VectorView& view, int64_t d) {
    const Points points(view);
    std::vector<float> rows(static_cast<size_t>(view.n * d));
    std::vector<double> mean(static_cast<size_t>(view.d));
    for (int64_t i = 0; i < view.n; i++) {
        float* row = rows.data() + i * d;
        points.copy_row(i, row);
        std::transform(mean.begin(), mean.end(), row, mean.begin(), std::plus<>());
    }
    for (double& value : mean) {
        value /= static_cast<double>(view.n);
    }
    for_each_range(view.n, kRows, [&](int64_t first, int64_t end) {
        for (int64_t i = first; i < end; i++) {
            float* row = rows.data() + i * d;
            for (int64_t j = 0; j < view.d; j++) {
                row[j] = static_cast<float>(row[j] - mean[static_cast<size_t>(j)]);
            }
        }
    });
    return rows;
}

/// Codebooks of the rotated points, from `codebooks` where there are some; returns the mean squared
/// distance to the codes, which go to `decoded` [n x d_out].
double quantize(
        const OpqInput& input,
        const std::vector<float>& rotated,
        const KMeansOptions& options,
        std::vector<float>& codebooks,
        std::vector<float>& decoded) {
    const int64_t n = input.points.n;
    const int64_t dsub = input.d_out / input.subspaces;
    const int64_t book = input.ksub * dsub;
    std::vector<KMeansInput> problems(static_cast<size_t>(input.subspaces));
    for (int64_t m = 0; m < input.subspaces; m++) {
        KMeansInput& problem = problems[static_cast<size_t>(m)];
        problem.points = VectorView::of(rotated.data() + m * dsub, n, dsub);
        problem.points.row_stride = input.d_out * static_cast<int64_t>(sizeof(float));
        if (!codebooks.empty()) {
            problem.initial_centroids =
                    VectorView::of(codebooks.data() + m * book, input.ksub, dsub);
        }
    }
    const auto results = batch_kmeans(problems, input.ksub, options);
    codebooks.resize(static_cast<size_t>(input.subspaces * book));
    double error = 0;
    for (int64_t m = 0; m < input.subspaces; m++) {
        const KMeansResult& result = results[static_cast<size_t>(m)];
        std::copy(result.centroids.begin(), result.centroids.end(), codebooks.data() + m * book);
        error = std::accumulate(result.distances.begin(), result.distances.end(), error);
    }
    for_each_range(n, kRows, [&](int64_t first, int64_t end) {
        for (int64_t i = first; i < end; i++) {
            for (int64_t m = 0; m < input.subspaces; m++) {
                const KMeansResult& result = results[static_cast<size_t>(m)];
                const int64_t id = result.assignment[static_cast<size_t>(i)];
                std::copy_n(
                        result.centroids.data() + id * dsub,
                        dsub,
                        decoded.data() + i * input.d_out + m * dsub);
            }
        }
    });
    return error / static_cast<double>(n);
}

} // namespace

OpqResult train_opq(const OpqInput& input, const KMeansOptions& options) {
    if (!options.checkpoint.empty()) {
        throw InvalidArgument("checkpoint=" + options.checkpoint + " is for kmeans() alone");
    }
    const Polling polling(options.poll);
    check_input(input);
    const int64_t n = input.points.n;
    const int64_t d = std::max(input.points.d, input.d_out);
    const std::vector<float> points = centred(input.points, d);
    std::vector<float> rotated(static_cast<size_t>(n * input.d_out));
    std::vector<float> decoded(rotated.size());
    OpqResult result;
    result.rotation = input.rotation;
    KMeansOptions step = options;
    step.return_assignment = true;
    for (int iteration = 0; iteration < input.niter; iteration++) {
        multiply_in_parallel(
                points.data(), n, result.rotation.data(), input.d_out, d, rotated.data());
        step.niter = iteration == 0 ? input.niter_first : input.niter_later;
        result.errors.push_back(quantize(input, rotated, step, result.codebooks, decoded));
        if (options.verbose) {
            std::printf(
                    "    Iteration %d (%d PQ iterations): obj=%g\n",
                    iteration,
                    step.niter,
                    result.errors.back());
        }
        // The rotation closest to what brings the points to their codes.
        std::vector<float> product(static_cast<size_t>(input.d_out * d));
        multiply_columns(decoded.data(), input.d_out, points.data(), d, n, product.data());
        result.rotation = nearest_rotation(product, input.d_out, d);
    }
    if (d > input.points.d) { // the columns that the points do not have
        std::vector<float> rotation;
        for (int64_t i = 0; i < input.d_out; i++) {
            const auto row = result.rotation.begin() + i * d;
            rotation.insert(rotation.end(), row, row + input.points.d);
        }
        result.rotation.swap(rotation);
    }
    return result;
}

} // namespace faiss_flash
