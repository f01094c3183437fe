#include <faiss_flash/IndexFlat.h>

#include <faiss_flash/Clustering.h>
#include <faiss_flash/plugin/errors.h>
#include <faiss_flash/plugin/flat_index.h>

namespace faiss_flash {

namespace {

/// What both indexes' train() does.
template <class Index>
void train_centroids(Index& index, int64_t n, const float* x) {
    if (index.nlist > 0) {
        Clustering clustering(index.d, static_cast<int>(index.nlist), index.cp);
        clustering.device = index.device;
        clustering.train(n, x, index);
    }
}

/// True where the engine answered.
template <class Index>
bool search_one(
        const Index& index,
        int64_t n,
        const float* x,
        int64_t k,
        float* distances,
        int64_t* labels,
        const faiss::SearchParameters* params) {
    if (k != 1 || params) {
        return false;
    }
    try {
        return assign_by_engine(index, n, x, distances, labels, index.device);
    } catch (const InvalidArgument&) {
        return false; // a NaN or an Inf: FAISS's search answers -1 for that query
    }
}

} // namespace

IndexFlatL2::IndexFlatL2(int64_t d_in, size_t nlist_in)
    : faiss::IndexFlatL2(d_in), nlist(nlist_in) {}

void IndexFlatL2::train(int64_t n, const float* x) {
    train_centroids(*this, n, x);
}

void IndexFlatL2::search(
        int64_t n,
        const float* x,
        int64_t k,
        float* distances,
        int64_t* labels,
        const faiss::SearchParameters* params) const {
    if (!search_one(*this, n, x, k, distances, labels, params)) {
        faiss::IndexFlatL2::search(n, x, k, distances, labels, params);
    }
}

IndexFlatIP::IndexFlatIP() {
    cp.spherical = true;
}

IndexFlatIP::IndexFlatIP(int64_t d_in, size_t nlist_in)
    : faiss::IndexFlatIP(d_in), nlist(nlist_in) {
    cp.spherical = true;
}

void IndexFlatIP::train(int64_t n, const float* x) {
    train_centroids(*this, n, x);
}

void IndexFlatIP::search(
        int64_t n,
        const float* x,
        int64_t k,
        float* distances,
        int64_t* labels,
        const faiss::SearchParameters* params) const {
    if (!search_one(*this, n, x, k, distances, labels, params)) {
        faiss::IndexFlatIP::search(n, x, k, distances, labels, params);
    }
}

} // namespace faiss_flash
