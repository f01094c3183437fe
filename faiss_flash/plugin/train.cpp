#include <faiss_flash/train.h>

#include <faiss/IndexHNSW.h>
#include <faiss/IndexIVFPQ.h>
#include <faiss/IndexIVFPQFastScan.h>
#include <faiss/IndexIVFPQR.h>
#include <faiss/IndexPQ.h>
#include <faiss/IndexPQFastScan.h>
#include <faiss_flash/plugin/caller_rows.h>
#include <faiss_flash/plugin/codebooks.h>
#include <faiss_flash/plugin/containers.h>
#include <faiss_flash/plugin/errors.h>
#include <faiss_flash/plugin/faiss_version.h>
#include <faiss_flash/plugin/opq.h>
#include <faiss_flash/plugin/stand_in.h>
#include <faiss_flash/plugin/train_parts.h>
#include <faiss_flash/plugin/trained_state.h>

#include <algorithm>
#include <memory>
#include <vector>

namespace faiss_flash {

namespace {

/// Trains the transforms, each on what the ones before make of x, then the index behind them: as
/// FAISS does, up to the last part that needs it.
void train_behind_transforms(
        faiss::IndexPreTransform& index, int64_t n, const float* x, const Service& service) {
    const auto& chain = index.chain;
    size_t parts = index.index->is_trained ? chain.size() : chain.size() + 1;
    while (parts > 0 && parts <= chain.size() && chain[parts - 1]->is_trained) {
        parts--;
    }
    std::unique_ptr<float[]> transformed;
    const float* current = x;
    for (size_t i = 0; i < parts; i++) {
        if (i == chain.size()) {
            train_part(*index.index, n, current, service);
            break;
        }
        faiss::VectorTransform& transform = *chain[i];
        if (!transform.is_trained) {
            if (auto* opq = exactly<faiss::OPQMatrix>(transform)) {
                train_opq(*opq, n, current, service.device);
            } else {
                transform.train(n, current);
            }
        }
        if (i + 1 < parts) {
            transformed.reset(transform.apply(n, current));
            current = transformed.get();
            require_finite(n, current, transform.d_out, "the transformed x");
        }
    }
    index.is_trained = true;
}

/// What is known of the rows that an IVF's train() gives to its product quantizer: those of FAISS's
/// own classes, which are x itself or the residuals of the rows that they assign.
struct IvfCodebook {
    faiss::ProductQuantizer* pq = nullptr; ///< null: none, or of a class of a user's own
    bool by_residual = false;
    faiss::ProductQuantizer* second = nullptr; ///< trained on what the first one leaves

    explicit IvfCodebook(faiss::IndexIVF& ivf) {
        if (auto* fast = exactly<faiss::IndexIVFPQFastScan>(ivf)) {
            pq = &fast->pq;
            by_residual = fast->by_residual;
        } else if (auto* ivfpq = exactly<faiss::IndexIVFPQ, faiss::IndexIVFPQR>(ivf)) {
            pq = &ivfpq->pq;
            by_residual = ivfpq->by_residual;
        }
        auto* refined = exactly<faiss::IndexIVFPQR>(ivf);
        // Before 1.8 FAISS trains the second quantizer on rows of another order.
        if (refined && FAISS_FLASH_FAISS_AT_LEAST(1, 8, 0)) {
            second = &refined->refine_pq;
        }
    }

    void put(Undo& parameters, int64_t n, const float* rows, const std::string& device) const {
        put_codebook(parameters, *pq, n, rows, device);
        if (second) {
            const auto rest = rest_after(*pq, n, rows);
            put_codebook(parameters, *second, n, rest.data(), device);
        }
    }
};

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
    if (auto* multi = exactly<faiss::MultiIndexQuantizer, faiss::MultiIndexQuantizer2>(index)) {
        return &multi->pq;
    }
    if (auto* fast = exactly<faiss::IndexPQFastScan>(index)) {
        return fast->is_trained ? nullptr : &fast->pq; // else its train() does nothing
    }
    auto* graph = exactly<faiss::IndexHNSWPQ>(index);
    if (auto* flat = exactly<faiss::IndexPQ>(graph && graph->storage ? *graph->storage : index)) {
        rows = codebook_rows(*flat, n);
        return &flat->pq;
    }
    return nullptr;
}

} // namespace

void train_ivf(
        faiss::IndexIVF& ivf,
        int64_t n,
        const float* x,
        const Service& service,
        const std::function<void()>& own_train) {
    Undo parameters;
    const IvfCodebook codebook(ivf);
    StandIn::Assigned assigned;
    if (codebook.pq && codebook.by_residual) {
        assigned = [&](int64_t count, const float* rows, const int64_t* lists) {
            std::vector<float> residuals(rows, rows + count * ivf.d);
            ivf.quantizer->compute_residual_n(count, rows, residuals.data(), lists);
            codebook.put(parameters, count, residuals.data(), service.device);
            return false;
        };
    } else if (codebook.pq) {
        codebook.put(parameters, n, x, service.device);
    }
    StandIn quantizer(ivf, service, assigned);
    own_train();
}

void train_part(faiss::Index& index, int64_t n, const float* x, const Service& service) {
    int64_t rows = n;
    if (auto* transforming = as_transforming(index)) {
        train_behind_transforms(*transforming, n, x, service);
    } else if (auto* mapping = as_mapping(index)) {
        train_part(*mapping->index, n, x, service);
        mapping->is_trained = mapping->index->is_trained;
    } else if (auto* refining = as_refining(index)) {
        train_part(*refining->base_index, n, x, service);
        train_part(*refining->refine_index, n, x, service);
        refining->is_trained = true;
    } else if (auto* ivf = dynamic_cast<faiss::IndexIVF*>(&index)) {
        train_ivf(*ivf, n, x, service, [=] { ivf->train(n, x); });
    } else {
        Undo parameters;
        if (faiss::ProductQuantizer* pq = quantizer_of(index, n, rows)) {
            put_codebook(parameters, *pq, rows, x, service.device);
        }
        index.train(n, x);
    }
}

void train(
        faiss::Index& index,
        int64_t n,
        const float* x,
        const std::string& device,
        const std::string& algorithm) {
    require(x != nullptr, "x is null with n=" + std::to_string(n));
    require_finite(n, x, index.d);
    Undo undo;
    keep_trained_state(undo, index);
    with_faiss_errors([&] {
        algorithm_named(algorithm); // where there is no k-means, too
        train_part(index, n, x, {device, algorithm});
    });
    undo.commit();
}

} // namespace faiss_flash
