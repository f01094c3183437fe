#include <faiss_flash/train.h>

#include <faiss/IndexHNSW.h>
#include <faiss/IndexIVF.h>
#include <faiss/IndexIVFPQ.h>
#include <faiss/IndexIVFPQFastScan.h>
#include <faiss/IndexIVFPQR.h>
#include <faiss/IndexPQ.h>
#include <faiss/IndexPQFastScan.h>
#include <faiss/IndexPreTransform.h>
#include <faiss/IndexRefine.h>
#include <faiss/MetaIndexes.h>
#include <faiss/utils/utils.h>
#include <faiss_flash/plugin/coarse_quantizer.h>
#include <faiss_flash/plugin/codebooks.h>
#include <faiss_flash/plugin/engine_quantizer.h>
#include <faiss_flash/plugin/errors.h>
#include <faiss_flash/plugin/faiss_version.h>
#include <faiss_flash/plugin/opq.h>

#include <algorithm>
#include <functional>
#include <memory>
#include <vector>

namespace faiss_flash {

namespace {

/// Trains the transforms, each on what the ones before make of x, then the index behind them.
void train_behind_transforms(
        faiss::IndexPreTransform& index, int64_t n, const float* x, const std::string& device) {
    std::vector<faiss::VectorTransform*> trained;
    std::unique_ptr<float[]> transformed;
    const float* current = x;
    try {
        for (faiss::VectorTransform* transform : index.chain) {
            if (!transform->is_trained) {
                trained.push_back(transform);
                if (auto* opq = dynamic_cast<faiss::OPQMatrix*>(transform)) {
                    train_opq(*opq, n, current, device);
                } else {
                    transform->train(n, current);
                }
            }
            transformed.reset(transform->apply(n, current));
            current = transformed.get();
        }
        train(*index.index, n, current, device);
    } catch (...) {
        for (faiss::VectorTransform* transform : trained) {
            transform->is_trained = false;
        }
        throw;
    }
    index.is_trained = true;
}

/// `finish` finds the codebook of x done.
void with_codebook(
        faiss::ProductQuantizer& pq,
        int64_t n,
        const float* x,
        const std::string& device,
        const std::function<void()>& finish) {
    TrainedCodebook codebook(pq, n, x, device);
    finish();
    codebook.commit();
}

/// The rows that FAISS trains an IVF's product quantizer on, as residuals where it encodes these.
struct EncoderRows {
    int64_t n;
    std::vector<float> rows;
    std::vector<int64_t> lists; ///< empty where rows are not residuals
};

EncoderRows encoder_rows(
        const faiss::IndexIVF& ivf,
        const faiss::ProductQuantizer& pq,
        bool by_residual,
        int64_t n,
        const float* x) {
#if FAISS_FLASH_FAISS_AT_LEAST(1, 8, 0)
    (void)pq;
    const int64_t most = ivf.train_encoder_num_vectors();
    const int64_t seed = 1234;
#else
    const auto most = static_cast<int64_t>(pq.cp.max_points_per_centroid * pq.ksub);
    const int64_t seed = pq.cp.seed;
#endif
    const auto d = static_cast<size_t>(ivf.d);
    auto kept = static_cast<size_t>(n);
    const float* sample =
            faiss::fvecs_maybe_subsample(d, &kept, static_cast<size_t>(most), x, ivf.verbose, seed);
    const std::unique_ptr<const float[]> owner(sample == x ? nullptr : sample);
    EncoderRows result{static_cast<int64_t>(kept), {sample, sample + kept * d}, {}};
    if (by_residual) {
        result.lists.resize(kept);
        ivf.quantizer->assign(result.n, sample, result.lists.data());
        ivf.quantizer->compute_residual_n(
                result.n, sample, result.rows.data(), result.lists.data());
    }
    return result;
}

/// FAISS's training of what is behind the coarse quantizer, which is full.
void train_encoder(faiss::IndexIVF& ivf, const EncoderRows& rows, int64_t n, const float* x) {
#if FAISS_FLASH_FAISS_AT_LEAST(1, 8, 0)
    (void)n;
    (void)x;
    ivf.train_encoder(rows.n, rows.rows.data(), rows.lists.empty() ? nullptr : rows.lists.data());
    ivf.is_trained = true;
#else
    (void)rows;
    ivf.train(n, x); // assigns the same rows once more
#endif
}

void train_ivf_encoder(faiss::IndexIVF& ivf, int64_t n, const float* x, const std::string& device) {
    const EngineQuantizer quantizer(ivf, device);
    if (auto* fast = dynamic_cast<faiss::IndexIVFPQFastScan*>(&ivf)) {
        const EncoderRows rows = encoder_rows(ivf, fast->pq, fast->by_residual, n, x);
        with_codebook(fast->pq, rows.n, rows.rows.data(), device, [&] {
            train_encoder(ivf, rows, n, x);
        });
    } else if (auto* ivfpq = dynamic_cast<faiss::IndexIVFPQ*>(&ivf)) {
        const EncoderRows rows = encoder_rows(ivf, ivfpq->pq, ivfpq->by_residual, n, x);
        with_codebook(ivfpq->pq, rows.n, rows.rows.data(), device, [&] {
            auto* refined = dynamic_cast<faiss::IndexIVFPQR*>(ivfpq);
            // Before 1.8 FAISS trains the second quantizer on rows of another order.
            if (refined && FAISS_FLASH_FAISS_AT_LEAST(1, 8, 0)) {
                const auto rest = rest_after(ivfpq->pq, rows.n, rows.rows.data());
                with_codebook(refined->refine_pq, rows.n, rest.data(), device, [&] {
                    train_encoder(ivf, rows, n, x);
                });
            } else {
                train_encoder(ivf, rows, n, x);
            }
        });
    } else {
        ivf.train(n, x);
    }
}

/// Rows that an IndexPQ trains its codebook on: polysemous training keeps some back.
int64_t codebook_rows(const faiss::IndexPQ& index, int64_t n) {
    if (!index.do_polysemous_training) {
        return n;
    }
    return n - std::min<int64_t>(index.polysemous_training.ntrain_permutation, n / 4);
}

/// The product quantizer that index.train(n, x) trains on its first `rows`; null if there is none.
faiss::ProductQuantizer* quantizer_of(faiss::Index& index, int64_t n, int64_t& rows) {
    rows = n;
    if (auto* multi = dynamic_cast<faiss::MultiIndexQuantizer*>(&index)) {
        return &multi->pq;
    }
    if (auto* fast = dynamic_cast<faiss::IndexPQFastScan*>(&index)) {
        return &fast->pq;
    }
    auto* graph = dynamic_cast<faiss::IndexHNSWPQ*>(&index);
    if (auto* flat = dynamic_cast<faiss::IndexPQ*>(graph ? graph->storage : &index)) {
        rows = codebook_rows(*flat, n);
        return &flat->pq;
    }
    return nullptr;
}

} // namespace

void train(faiss::Index& index, int64_t n, const float* x, const std::string& device) {
    require(x != nullptr, "x is null with n=" + std::to_string(n));
    int64_t rows = n;
    if (auto* transforming = dynamic_cast<faiss::IndexPreTransform*>(&index)) {
        train_behind_transforms(*transforming, n, x, device);
    } else if (auto* mapping = dynamic_cast<faiss::IndexIDMap*>(&index)) {
        train(*mapping->index, n, x, device);
        mapping->is_trained = mapping->index->is_trained;
    } else if (auto* refining = dynamic_cast<faiss::IndexRefine*>(&index)) {
        train(*refining->base_index, n, x, device);
        train(*refining->refine_index, n, x, device);
        refining->is_trained = true;
    } else if (auto* ivf = dynamic_cast<faiss::IndexIVF*>(&index)) {
        train_coarse_quantizer(
                *ivf, n, x, device, [=, &device] { train_ivf_encoder(*ivf, n, x, device); });
    } else if (faiss::ProductQuantizer* pq = quantizer_of(index, n, rows)) {
        with_codebook(*pq, rows, x, device, [&] { index.train(n, x); });
    } else {
        index.train(n, x);
    }
}

} // namespace faiss_flash
