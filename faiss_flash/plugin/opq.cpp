#include <faiss_flash/plugin/opq.h>

#include <faiss/impl/ProductQuantizer.h>
#include <faiss/utils/random.h>
#include <faiss/utils/utils.h>
#include <faiss_flash/opq.h>
#include <faiss_flash/plugin/errors.h>
#include <faiss_flash/plugin/options.h>

#include <algorithm>
#include <memory>
#include <vector>

namespace faiss_flash {

namespace {

/// The one given, or the random one that FAISS starts from: [d_out x d].
std::vector<float> first_rotation(const faiss::OPQMatrix& matrix, size_t d) {
    if (!matrix.A.empty()) {
        return matrix.A;
    }
    constexpr int64_t kSeed = 1234;
    std::vector<float> rotation(d * d);
    faiss::float_randn(rotation.data(), rotation.size(), kSeed);
    faiss::matrix_qr(static_cast<int>(d), static_cast<int>(d), rotation.data());
    rotation.resize(d * static_cast<size_t>(matrix.d_out));
    return rotation;
}

} // namespace

void train_opq(faiss::OPQMatrix& matrix, int64_t n, const float* x, const std::string& device) {
    const faiss::ProductQuantizer plain(
            static_cast<size_t>(matrix.d_out), static_cast<size_t>(matrix.M), 8);
    const faiss::ProductQuantizer& pq = matrix.pq ? *matrix.pq : plain;
    if (pq.train_type != faiss::ProductQuantizer::Train_default || pq.assign_index ||
        !engine_takes(pq.cp)) {
        matrix.train(n, x);
        return;
    }
    auto rows = static_cast<size_t>(n);
    const float* sample = faiss::fvecs_maybe_subsample(
            static_cast<size_t>(matrix.d_in), &rows, matrix.max_train_points, x, matrix.verbose);
    const std::unique_ptr<const float[]> owner(sample == x ? nullptr : sample);
    OpqInput input;
    input.points = VectorView::of(sample, static_cast<int64_t>(rows), matrix.d_in);
    input.d_out = matrix.d_out;
    input.subspaces = matrix.M;
    input.ksub = static_cast<int64_t>(pq.ksub);
    input.rotation =
            first_rotation(matrix, static_cast<size_t>(std::max(matrix.d_in, matrix.d_out)));
    input.niter = matrix.niter;
    input.niter_first = matrix.niter_pq_0;
    input.niter_later = matrix.niter_pq;
    KMeansOptions options = engine_options(pq.cp, Metric::l2, {device, "lloyd"});
    options.max_points_per_centroid = 1000; // as FAISS trains OPQ's codebooks
    options.verbose = matrix.verbose;
    matrix.A = with_faiss_errors([&] { return train_opq(input, options).rotation; });
    matrix.is_trained = true;
    matrix.is_orthonormal = true;
}

} // namespace faiss_flash
