#include <faiss_flash/IndexFlat.h>

#include <faiss_flash/Clustering.h>
#include <faiss_flash/plugin/flat_index.h>

namespace faiss_flash {

namespace {

/// What both indexes' train() does.
template <class Index>
void train_centroids(Index& index, int64_t n, const float* x) {
    if (index.nlist > 0) {
        Clustering clustering(index.d, static_cast<int>(index.nlist), index.cp);
        clustering.device = index.device;
        clustering.algorithm = index.algorithm;
        clustering.train(n, x, index);
    }
}

} // namespace

IndexFlatL2::IndexFlatL2(int64_t d_in, size_t nlist_in)
    : faiss::IndexFlatL2(d_in), nlist(nlist_in) {}

void IndexFlatL2::train(int64_t n, const float* x) {
    train_centroids(*this, n, x);
}

void IndexFlatL2::assign(int64_t n, const float* x, int64_t* labels, int64_t k) const {
    if (k == 1) {
        assign_rows(*this, n, x, labels, device);
    } else {
        faiss::IndexFlatL2::assign(n, x, labels, k);
    }
}

void IndexFlatL2::search(
        int64_t n,
        const float* x,
        int64_t k,
        float* distances,
        int64_t* labels,
        const faiss::SearchParameters* params) const {
    if (k == 1 && !params) {
        search_nearest(*this, n, x, distances, labels, device);
    } else {
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

void IndexFlatIP::assign(int64_t n, const float* x, int64_t* labels, int64_t k) const {
    if (k == 1) {
        assign_rows(*this, n, x, labels, device);
    } else {
        faiss::IndexFlatIP::assign(n, x, labels, k);
    }
}

void IndexFlatIP::search(
        int64_t n,
        const float* x,
        int64_t k,
        float* distances,
        int64_t* labels,
        const faiss::SearchParameters* params) const {
    if (k == 1 && !params) {
        search_nearest(*this, n, x, distances, labels, device);
    } else {
        faiss::IndexFlatIP::search(n, x, k, distances, labels, params);
    }
}

} // namespace faiss_flash
