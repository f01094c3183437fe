#include <faiss_flash/plugin/stand_in.h>

#include <faiss_flash/plugin/coarse_quantizer.h>
#include <faiss_flash/plugin/errors.h>
#include <faiss_flash/plugin/flat_index.h>

#include <utility>

namespace faiss_flash {

namespace {

faiss::Index& quantizer_of(const faiss::IndexIVF& ivf) {
    require(ivf.quantizer != nullptr, "quantizer is null");
    return *ivf.quantizer;
}

} // namespace

StandIn::StandIn(faiss::IndexIVF& ivf, const Service& service, Assigned assigned)
    : faiss::Index(quantizer_of(ivf).d, quantizer_of(ivf).metric_type),
      ivf_(ivf),
      real_(*ivf.quantizer),
      trains_alone_(ivf.quantizer_trains_alone),
      service_(service),
      assigned_(std::move(assigned)) {
    metric_arg = real_.metric_arg;
    follow_real();
    take_place_if_needed();
}

StandIn::~StandIn() {
    give_place_back();
}

bool StandIn::is_full() const {
    return real_.is_trained && real_.ntotal == static_cast<int64_t>(ivf_.nlist);
}

/// FAISS asks some quantizers what they are: where there is nothing to do here, the real one has to
/// be in its place.
void StandIn::take_place_if_needed() const {
    if (!is_full() || assigned_ || as_flat(real_)) {
        ivf_.quantizer = const_cast<StandIn*>(this);
        ivf_.quantizer_trains_alone = 1; // train() is called with the rows
    }
}

void StandIn::give_place_back() const {
    ivf_.quantizer = &real_;
    ivf_.quantizer_trains_alone = trains_alone_;
}

void StandIn::follow_real() {
    is_trained = real_.is_trained;
    ntotal = real_.ntotal;
}

void StandIn::train(int64_t n, const float* x) {
    give_place_back();
    train_coarse_quantizer(ivf_, n, x, service_);
    follow_real();
    take_place_if_needed();
}

void StandIn::assign(int64_t n, const float* x, int64_t* labels, int64_t k) const {
    const faiss::IndexFlat* flat = as_flat(real_);
    if (flat && k == 1) {
        assign_rows(*flat, n, x, labels, service_.device);
    } else {
        real_.assign(n, x, labels, k);
    }
    if (assigned_ && k == 1) {
        give_place_back();
        if (!assigned_(n, x, labels)) {
            assigned_ = nullptr;
        }
        take_place_if_needed();
    }
}

void StandIn::search(
        int64_t n,
        const float* x,
        int64_t k,
        float* distances,
        int64_t* labels,
        const faiss::SearchParameters* params) const {
    const faiss::IndexFlat* flat = as_flat(real_);
    if (flat && k == 1 && !params) {
        search_nearest(*flat, n, x, distances, labels, service_.device);
    } else {
        real_.search(n, x, k, distances, labels, params);
    }
}

void StandIn::add(int64_t n, const float* x) {
    real_.add(n, x);
    follow_real();
}

void StandIn::reset() {
    real_.reset();
    follow_real();
}

void StandIn::reconstruct(int64_t key, float* out) const {
    real_.reconstruct(key, out);
}

void StandIn::reconstruct_n(int64_t first, int64_t n, float* out) const {
    real_.reconstruct_n(first, n, out);
}

void StandIn::compute_residual(const float* x, float* residual, int64_t key) const {
    real_.compute_residual(x, residual, key);
}

void StandIn::compute_residual_n(
        int64_t n, const float* x, float* residuals, const int64_t* keys) const {
    real_.compute_residual_n(n, x, residuals, keys);
}

} // namespace faiss_flash
