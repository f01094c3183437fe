#include <faiss_flash/plugin/trained_state.h>

#include <faiss/Index2Layer.h>
#include <faiss/IndexAdditiveQuantizer.h>
#include <faiss/IndexAdditiveQuantizerFastScan.h>
#include <faiss/IndexHNSW.h>
#include <faiss/IndexIVF.h>
#include <faiss/IndexIVFAdditiveQuantizer.h>
#include <faiss/IndexIVFAdditiveQuantizerFastScan.h>
#include <faiss/IndexIVFPQ.h>
#include <faiss/IndexIVFPQFastScan.h>
#include <faiss/IndexIVFPQR.h>
#include <faiss/IndexIVFSpectralHash.h>
#include <faiss/IndexLSH.h>
#include <faiss/IndexLattice.h>
#include <faiss/IndexNNDescent.h>
#include <faiss/IndexNSG.h>
#include <faiss/IndexPQ.h>
#include <faiss/IndexPQFastScan.h>
#include <faiss/IndexPreTransform.h>
#include <faiss/IndexRefine.h>
#include <faiss/IndexReplicas.h>
#include <faiss/IndexRowwiseMinMax.h>
#include <faiss/IndexScalarQuantizer.h>
#include <faiss/IndexShards.h>
#include <faiss/MetaIndexes.h>
#include <faiss/VectorTransform.h>
#include <faiss/impl/LocalSearchQuantizer.h>
#include <faiss/impl/ProductAdditiveQuantizer.h>
#include <faiss/impl/ResidualQuantizer.h>
#include <faiss_flash/plugin/faiss_version.h>
#if FAISS_FLASH_FAISS_AT_LEAST(1, 8, 0)
#include <faiss/IndexIVFIndependentQuantizer.h>
#include <faiss/IndexShardsIVF.h>
#endif

#include <algorithm>
#include <cstdint>
#include <vector>

namespace faiss_flash {

namespace {

/// Keeps the object's fields as a T, which it may be; else nothing.
template <class T, class Base>
bool keep_as(Undo& undo, Base& object) {
    auto* part = dynamic_cast<T*>(&object);
    if (part) {
        undo.keep(*part);
    }
    return part != nullptr;
}

void keep_transform(Undo& undo, faiss::VectorTransform* transform) {
    if (!transform) {
        return;
    }
    undo.keep(transform->is_trained);
    keep_as<faiss::PCAMatrix>(undo, *transform) ||
            keep_as<faiss::LinearTransform>(undo, *transform) ||
            keep_as<faiss::ITQTransform>(undo, *transform) ||
            keep_as<faiss::CenteringTransform>(undo, *transform);
}

/// The fields of the base class, which cannot be copied by itself.
struct PlainAdditive final : faiss::AdditiveQuantizer {
    explicit PlainAdditive(const AdditiveQuantizer& other) : AdditiveQuantizer(other) {}
    void train(size_t /*n*/, const float* /*x*/) override {}
    void compute_codes_add_centroids(
            const float* /*x*/,
            uint8_t* /*codes*/,
            size_t /*n*/,
            const float* /*centroids*/) const override {}
};

void keep_additive(Undo& undo, faiss::AdditiveQuantizer* quantizer) {
    if (!quantizer || keep_as<faiss::ResidualQuantizer>(undo, *quantizer)) {
        return;
    }
    undo.at_end([quantizer, before = PlainAdditive(*quantizer)] {
        *quantizer = static_cast<const faiss::AdditiveQuantizer&>(before);
    });
    if (auto* searching = dynamic_cast<faiss::LocalSearchQuantizer*>(quantizer)) {
        undo.keep(searching->nperts);
    } else if (auto* product = dynamic_cast<faiss::ProductAdditiveQuantizer*>(quantizer)) {
        for (faiss::AdditiveQuantizer* part : product->quantizers) {
            keep_additive(undo, part);
        }
    }
}

void keep_product(Undo& undo, faiss::ProductQuantizer& pq) {
    undo.keep(pq);
    if (pq.assign_index) {
        keep_vectors(undo, *pq.assign_index);
    }
}

/// Of an IndexIVFPQ or its fast-scan counterpart. The table of an untrained one is empty, and an
/// empty one cannot be copied.
template <class Index>
void keep_ivf_pq(Undo& undo, Index& index) {
    keep_product(undo, index.pq);
    undo.keep(index.use_precomputed_table);
    auto& table = index.precomputed_table;
    undo.at_end([&table, before = std::vector<float>(table.data(), table.data() + table.size())] {
        table.resize(before.size());
        std::copy(before.begin(), before.end(), table.data());
    });
}

void keep_level1(Undo& undo, faiss::Level1Quantizer& level) {
    if (!level.quantizer) {
        return;
    }
    faiss::Index& quantizer = *level.quantizer;
    keep_trained_state(undo, quantizer);
    const bool full = quantizer.is_trained && quantizer.ntotal == static_cast<int64_t>(level.nlist);
    const bool counts_codes = dynamic_cast<faiss::MultiIndexQuantizer*>(&quantizer) ||
                              dynamic_cast<faiss::AdditiveCoarseQuantizer*>(&quantizer);
    if (!full && !counts_codes) {
        if (auto* graph = dynamic_cast<faiss::IndexHNSW*>(&quantizer)) {
            undo.keep(graph->hnsw); // adding the same vectors again would give another one
        }
        keep_vectors(undo, quantizer);
    }
    if (level.clustering_index) {
        undo.keep(level.clustering_index->is_trained);
        keep_vectors(undo, *level.clustering_index);
    }
}

void keep_ivf(Undo& undo, faiss::IndexIVF& ivf) {
    keep_level1(undo, ivf);
    if (auto* refined = dynamic_cast<faiss::IndexIVFPQR*>(&ivf)) {
        keep_product(undo, refined->refine_pq);
    }
    if (auto* ivfpq = dynamic_cast<faiss::IndexIVFPQ*>(&ivf)) {
        keep_ivf_pq(undo, *ivfpq);
    } else if (auto* fast = dynamic_cast<faiss::IndexIVFPQFastScan*>(&ivf)) {
        keep_ivf_pq(undo, *fast);
    } else if (auto* scalar = dynamic_cast<faiss::IndexIVFScalarQuantizer*>(&ivf)) {
        undo.keep(scalar->sq);
    } else if (auto* additive = dynamic_cast<faiss::IndexIVFAdditiveQuantizer*>(&ivf)) {
        keep_additive(undo, additive->aq);
    } else if (auto* scan = dynamic_cast<faiss::IndexIVFAdditiveQuantizerFastScan*>(&ivf)) {
        keep_additive(undo, scan->aq);
        undo.keep(scan->norm_scale);
    } else if (auto* hash = dynamic_cast<faiss::IndexIVFSpectralHash*>(&ivf)) {
        keep_transform(undo, hash->vt);
        undo.keep(hash->trained);
    }
}

/// Indexes around others. False where it is none.
bool keep_parts(Undo& undo, faiss::Index& index) {
    const auto keep = [&undo](faiss::Index* part) {
        if (part) {
            keep_trained_state(undo, *part);
        }
    };
    if (auto* transforming = dynamic_cast<faiss::IndexPreTransform*>(&index)) {
        for (faiss::VectorTransform* transform : transforming->chain) {
            keep_transform(undo, transform);
        }
        keep(transforming->index);
    } else if (auto* mapping = dynamic_cast<faiss::IndexIDMap*>(&index)) {
        keep(mapping->index);
    } else if (auto* refining = dynamic_cast<faiss::IndexRefine*>(&index)) {
        keep(refining->base_index);
        keep(refining->refine_index);
    } else if (auto* normalising = dynamic_cast<faiss::IndexRowwiseMinMaxBase*>(&index)) {
        keep(normalising->index);
    } else if (auto* several = dynamic_cast<faiss::ThreadedIndex<faiss::Index>*>(&index)) {
        for (int i = 0; i < several->count(); i++) {
            keep(several->at(i));
        }
    } else if (auto* hnsw = dynamic_cast<faiss::IndexHNSW*>(&index)) {
        keep(hnsw->storage);
    } else if (auto* nsg = dynamic_cast<faiss::IndexNSG*>(&index)) {
        keep(nsg->storage);
    } else if (auto* descent = dynamic_cast<faiss::IndexNNDescent*>(&index)) {
        keep(descent->storage);
#if FAISS_FLASH_FAISS_AT_LEAST(1, 8, 0)
    } else if (auto* apart = dynamic_cast<faiss::IndexIVFIndependentQuantizer*>(&index)) {
        keep(apart->index_ivf);
        keep_transform(undo, apart->vt);
        if (apart->quantizer && apart->index_ivf) {
            faiss::Level1Quantizer level(apart->quantizer, apart->index_ivf->nlist);
            keep_level1(undo, level);
        }
#endif
    } else {
        return false;
    }
#if FAISS_FLASH_FAISS_AT_LEAST(1, 8, 0)
    if (auto* sharded = dynamic_cast<faiss::IndexShardsIVF*>(&index)) {
        keep_level1(undo, *sharded);
    }
#endif
    return true;
}

/// Indexes that hold codes only.
void keep_encoder(Undo& undo, faiss::Index& index) {
    if (auto* flat = dynamic_cast<faiss::IndexPQ*>(&index)) {
        keep_product(undo, flat->pq);
    } else if (auto* fast = dynamic_cast<faiss::IndexPQFastScan*>(&index)) {
        keep_product(undo, fast->pq);
    } else if (auto* multi = dynamic_cast<faiss::MultiIndexQuantizer*>(&index)) {
        keep_product(undo, multi->pq);
        undo.keep(multi->ntotal);
        if (auto* searched = dynamic_cast<faiss::MultiIndexQuantizer2*>(multi)) {
            for (faiss::Index* part : searched->assign_indexes) {
                keep_vectors(undo, *part);
            }
        }
    } else if (auto* layers = dynamic_cast<faiss::Index2Layer*>(&index)) {
        keep_level1(undo, layers->q1);
        keep_product(undo, layers->pq);
    } else if (auto* additive = dynamic_cast<faiss::IndexAdditiveQuantizer*>(&index)) {
        keep_additive(undo, additive->aq);
    } else if (auto* coarse = dynamic_cast<faiss::AdditiveCoarseQuantizer*>(&index)) {
        keep_additive(undo, coarse->aq);
        undo.keep(coarse->centroid_norms);
        undo.keep(coarse->ntotal);
    } else if (auto* scan = dynamic_cast<faiss::IndexAdditiveQuantizerFastScan*>(&index)) {
        keep_additive(undo, scan->aq);
        undo.keep(scan->norm_scale);
    } else if (auto* scalar = dynamic_cast<faiss::IndexScalarQuantizer*>(&index)) {
        undo.keep(scalar->sq);
    } else if (auto* lsh = dynamic_cast<faiss::IndexLSH*>(&index)) {
        undo.keep(lsh->thresholds);
        undo.keep(lsh->train_thresholds);
    } else if (auto* lattice = dynamic_cast<faiss::IndexLattice*>(&index)) {
        undo.keep(lattice->trained);
    }
}

} // namespace

void keep_trained_state(Undo& undo, faiss::Index& index) {
    undo.keep(index.is_trained);
    undo.keep(index.verbose);
    if (auto* ivf = dynamic_cast<faiss::IndexIVF*>(&index)) {
        keep_ivf(undo, *ivf);
    } else if (!keep_parts(undo, index)) {
        keep_encoder(undo, index);
    }
}

void keep_vectors(Undo& undo, faiss::Index& index) {
    std::vector<float> before(static_cast<size_t>(index.ntotal * index.d));
    if (index.ntotal > 0) {
        try {
            index.reconstruct_n(0, index.ntotal, before.data());
        } catch (const faiss::FaissException&) {
            return;
        }
    }
    undo.at_end([&index, before] {
        index.reset();
        if (!before.empty()) {
            index.add(static_cast<int64_t>(before.size()) / index.d, before.data());
        }
    });
}

} // namespace faiss_flash
