#include <faiss_flash/plugin/flat_index.h>

#include <faiss_flash/IndexFlat.h>
#include <faiss_flash/assigner.h>
#include <faiss_flash/plugin/caller_rows.h>
#include <faiss_flash/plugin/containers.h>
#include <faiss_flash/plugin/errors.h>
#include <faiss_flash/plugin/interrupt.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

namespace faiss_flash {

namespace {

/// A call of the engine packs all vectors of the index first, on one thread; FAISS's takes up to 19
/// rows as they are, and more by BLAS. The cost of both grows with the number of vectors, which
/// does not count therefore. FAISS's time over the engine's for 4096 vectors, one thread of an EPYC
/// without AVX-512, medians of three (bench_cpu --benchmark_filter=few_rows):
///     rows       32    128    512   2048
///     d = 8    0.33   1.20   3.75   8.45
///     d = 32   0.31   0.84   1.93   3.05
///     d = 128  0.24   0.53   1.05   1.56
///     d = 256  0.21   0.42   0.82   1.14
///     d = 768  0.20   0.28   0.55   0.78
/// The number of threads must not count: results would depend on it.
bool enough_rows(int64_t n, int64_t d) {
    constexpr int64_t kFewest = 512; // as few_rows.py
    return n >= std::max(kFewest, 4 * d);
}

void assign_by_engine(
        const faiss::IndexFlat& index,
        int64_t n,
        const float* x,
        float* distances,
        int64_t* labels,
        const std::string& device) {
    assign_again(
            VectorView::of(x, n, index.d),
            VectorView::of(index.get_xb(), index.ntotal, index.d),
            engine_metric(index.metric_type),
            labels,
            distances,
            device,
            interrupt_poll());
}

bool has_finite_vectors(const faiss::IndexFlat& index) {
    return all_finite(index.get_xb(), index.ntotal * index.d);
}

/// False, with nothing written, where FAISS's search has to answer: for few rows, and with a NaN or
/// an Inf among the rows or the vectors.
bool try_engine(
        const faiss::IndexFlat& index,
        int64_t n,
        const float* x,
        float* distances,
        int64_t* labels,
        const std::string& device) {
    if (index.ntotal == 0 || !enough_rows(n, index.d)) {
        return false;
    }
    try {
        assign_by_engine(index, n, x, distances, labels, device);
        return true;
    } catch (const InvalidArgument&) {
        if (all_finite(x, n * index.d) && has_finite_vectors(index)) {
            throw;
        }
        return false;
    }
}

/// By FAISS, in float32. What it finds for a NaN, for squares beyond float32 and in an empty index
/// is no answer: a label that was not written, or 0.
void search_by_faiss(
        const faiss::IndexFlat& index,
        int64_t n,
        const float* x,
        float* distances,
        int64_t* labels,
        const std::string& device) {
    index.faiss::IndexFlat::search(n, x, 1, distances, labels);
    if (index.ntotal == 0) {
        std::fill_n(labels, n, -1);
        return;
    }
    for (int64_t i = 0; i < n; i++) {
        if (std::abs(distances[i]) < std::numeric_limits<float>::max()) {
            continue;
        }
        const float* row = x + i * index.d;
        if (all_finite(row, index.d) && has_finite_vectors(index)) {
            assign_by_engine(index, 1, row, distances + i, labels + i, device);
        } else {
            labels[i] = -1;
        }
    }
}

} // namespace

const faiss::IndexFlat* as_flat(const faiss::Index& index) {
    const bool known = index.metric_type == faiss::METRIC_L2 ||
                       index.metric_type == faiss::METRIC_INNER_PRODUCT;
    return known ? exactly<const faiss::IndexFlat,
                           const faiss::IndexFlatL2,
                           const faiss::IndexFlatIP,
                           const IndexFlatL2,
                           const IndexFlatIP>(index)
                 : nullptr;
}

Metric engine_metric(faiss::MetricType metric) {
    return metric == faiss::METRIC_INNER_PRODUCT ? Metric::inner_product : Metric::l2;
}

void search_nearest(
        const faiss::IndexFlat& index,
        int64_t n,
        const float* x,
        float* distances,
        int64_t* labels,
        const std::string& device) {
    with_faiss_errors([&] {
        if (!try_engine(index, n, x, distances, labels, device)) {
            search_by_faiss(index, n, x, distances, labels, device);
        }
    });
}

void assign_rows(
        const faiss::IndexFlat& index,
        int64_t n,
        const float* x,
        int64_t* labels,
        const std::string& device) {
    with_faiss_errors([&] {
        if (!try_engine(index, n, x, nullptr, labels, device)) {
            require_finite(n, x, index.d);
            std::vector<float> distances(static_cast<size_t>(n));
            search_by_faiss(index, n, x, distances.data(), labels, device);
        }
    });
}

} // namespace faiss_flash
