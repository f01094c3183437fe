#include <faiss_flash/IndexIVFFlat.h>

#include <faiss_flash/plugin/added_rows.h>
#include <faiss_flash/plugin/caller_rows.h>
#include <faiss_flash/plugin/errors.h>
#include <faiss_flash/plugin/flat_index.h>
#include <faiss_flash/plugin/train_parts.h>
#include <faiss_flash/plugin/trained_state.h>

#include <typeinfo>
#include <vector>

namespace faiss_flash {

namespace {

bool same_centroids(const faiss::Index& a, const faiss::Index& b) {
    std::vector<float> mine(static_cast<size_t>(a.d));
    std::vector<float> theirs(static_cast<size_t>(b.d));
    for (int64_t i = 0; i < a.ntotal; i++) {
        a.reconstruct(i, mine.data());
        b.reconstruct(i, theirs.data());
        if (mine != theirs) {
            return false;
        }
    }
    return true;
}

} // namespace

IndexIVFFlat::IndexIVFFlat(
        faiss::Index* quantizer_in, size_t d_in, size_t nlist_in, faiss::MetricType metric)
    : faiss::IndexIVFFlat(quantizer_in, d_in, nlist_in, metric) {}

void IndexIVFFlat::train(int64_t n, const float* x) {
    require(x != nullptr, "x is null with n=" + std::to_string(n));
    require_finite(n, x, d);
    Undo undo;
    keep_trained_state(undo, *this);
    with_faiss_errors([&] {
        train_ivf(*this, n, x, {device, algorithm}, [&] { faiss::IndexIVFFlat::train(n, x); });
    });
    undo.commit();
}

void IndexIVFFlat::add_with_ids(int64_t n, const float* x, const int64_t* xids) {
    require(is_trained, "add: the index is not trained (is_trained=0)");
    require_finite(n, x, d);
    if (n == 0) {
        return; // FAISS asks for lists, even of none
    }
    std::vector<int64_t> lists(static_cast<size_t>(n));
    if (const faiss::IndexFlat* flat = as_flat(*quantizer)) {
        assign_rows(*flat, n, x, lists.data(), device);
    } else {
        quantizer->assign(n, x, lists.data());
    }
    Undo undo;
    keep_counts(undo, *this);
    keep_lists(undo, *this, n, lists.data());
    add_core(n, x, xids, lists.data());
    undo.commit();
}

void IndexIVFFlat::check_compatible_for_merge(const faiss::Index& otherIndex) const {
    const auto& type = typeid(otherIndex);
    require(type == typeid(faiss::IndexIVFFlat) || type == typeid(IndexIVFFlat),
            "can only merge with an IndexIVFFlat");
    const auto& other = static_cast<const faiss::IndexIVFFlat&>(otherIndex);
    require(other.d == d, "d=" + std::to_string(other.d) + " of the other index differs");
    require(other.nlist == nlist,
            "nlist=" + std::to_string(other.nlist) + " of the other index differs");
    require(other.metric_type == metric_type, "metric_type of the other index differs");
    require(other.code_size == code_size, "code_size of the other index differs");
    require(direct_map.no() && other.direct_map.no(), "merge with a direct_map not implemented");
    require(quantizer->ntotal == other.quantizer->ntotal &&
                    (!faiss::check_compatible_for_merge_expensive_check ||
                     same_centroids(*quantizer, *other.quantizer)),
            "coarse quantizers should be the same");
}

} // namespace faiss_flash
