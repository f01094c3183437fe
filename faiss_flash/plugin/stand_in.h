/// An index that takes the place of an IVF's coarse quantizer for a while.
#pragma once

#include <faiss/IndexIVF.h>
#include <faiss_flash/plugin/options.h>

#include <cstdint>
#include <functional>

namespace faiss_flash {

/// While one lives, FAISS's own code for training an IVF and for filling its lists meets it where
/// it looks for the quantizer. So whatever that code, or a user's own train(), does with its rows
/// first is kept: the rows to cluster are those that arrive here.
///
/// train() trains the real quantizer on the engine (train_coarse_quantizer()); the nearest vector
/// of a flat one is found by the engine. All else is the real quantizer's, which is not copied: it
/// may be shared with other indexes in use.
class StandIn final : public faiss::Index {
   public:
    /// Told the rows that an encoder will be trained on, or that will be added, and their lists.
    /// Returns whether it wants to be called again.
    using Assigned = std::function<bool(int64_t n, const float* x, const int64_t* lists)>;

    /// @param assigned  called after assign(), or null
    StandIn(faiss::IndexIVF& ivf, const Service& service, Assigned assigned = nullptr);
    /// The IVF has its own quantizer again.
    ~StandIn() override;
    StandIn(const StandIn&) = delete;
    StandIn& operator=(const StandIn&) = delete;

    void train(int64_t n, const float* x) override;
    void assign(int64_t n, const float* x, int64_t* labels, int64_t k) const override;
    void search(
            int64_t n,
            const float* x,
            int64_t k,
            float* distances,
            int64_t* labels,
            const faiss::SearchParameters* params) const override;

    void add(int64_t n, const float* x) override;
    void reset() override;
    void reconstruct(int64_t key, float* out) const override;
    void reconstruct_n(int64_t first, int64_t n, float* out) const override;
    void compute_residual(const float* x, float* residual, int64_t key) const override;
    void compute_residual_n(
            int64_t n, const float* x, float* residuals, const int64_t* keys) const override;

   private:
    bool is_full() const;
    void take_place_if_needed() const;
    void give_place_back() const;
    void follow_real();

    faiss::IndexIVF& ivf_;
    faiss::Index& real_;
    const char trains_alone_;
    const Service service_;
    mutable Assigned assigned_;
};

} // namespace faiss_flash
