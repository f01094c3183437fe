#include <faiss/IndexIVF.h>
#include <faiss/IndexPreTransform.h>
#include <faiss/IndexRefine.h>
#include <faiss/MetaIndexes.h>
#include <faiss_flash/IndexFlat.h>
#include <faiss_flash/plugin/engine_quantizer.h>
#include <faiss_flash/plugin/errors.h>
#include <faiss_flash/plugin/flat_index.h>
#include <faiss_flash/train.h>

#include <algorithm>
#include <cmath>
#include <memory>

namespace faiss_flash {

namespace {

void require_finite(const faiss::Index& index, int64_t n, const float* x) {
    const float* end = x + n * index.d;
    const float* bad = std::find_if_not(x, end, [](float value) { return std::isfinite(value); });
    if (bad != end) {
        throw faiss::FaissException(
                "x[" + std::to_string((bad - x) / index.d) + "][" +
                std::to_string((bad - x) % index.d) +
                "] is not finite: input contains NaN's or Inf's");
    }
}

void add_finite(
        faiss::Index& index,
        int64_t n,
        const float* x,
        const int64_t* xids,
        const std::string& device) {
    auto* mapping = dynamic_cast<faiss::IndexIDMap*>(&index);
    auto* refining = dynamic_cast<faiss::IndexRefine*>(&index);
    if (auto* transforming = dynamic_cast<faiss::IndexPreTransform*>(&index)) {
        const float* transformed = transforming->apply_chain(n, x);
        const std::unique_ptr<const float[]> owner(transformed == x ? nullptr : transformed);
        add_finite(*transforming->index, n, transformed, xids, device);
        transforming->ntotal = transforming->index->ntotal;
    } else if (mapping && xids) {
        const int64_t first = mapping->ntotal;
        add_finite(*mapping->index, n, x, nullptr, device);
        mapping->id_map.insert(mapping->id_map.end(), xids, xids + n);
        mapping->ntotal = mapping->index->ntotal;
        if (auto* both_ways = dynamic_cast<faiss::IndexIDMap2*>(mapping)) {
            for (int64_t i = 0; i < n; i++) {
                both_ways->rev_map[xids[i]] = first + i;
            }
        }
    } else if (refining && !xids) {
        add_finite(*refining->base_index, n, x, nullptr, device);
        add_finite(*refining->refine_index, n, x, nullptr, device);
        refining->ntotal = refining->refine_index->ntotal;
    } else if (auto* ivf = dynamic_cast<faiss::IndexIVF*>(&index)) {
        const EngineQuantizer quantizer(*ivf, device);
        ivf->add_with_ids(n, x, xids);
    } else if (xids) {
        index.add_with_ids(n, x, xids);
    } else {
        index.add(n, x);
    }
}

} // namespace

std::unique_ptr<faiss::Index> engine_copy(const faiss::Index& flat, const std::string& device) {
    const faiss::IndexFlat* from = as_flat(flat);
    if (!from) {
        return nullptr;
    }
    const auto filled = [&](auto copy) -> std::unique_ptr<faiss::Index> {
        copy->device = device;
        copy->add(from->ntotal, from->get_xb());
        return copy;
    };
    return from->metric_type == faiss::METRIC_L2 ? filled(std::make_unique<IndexFlatL2>(flat.d))
                                                 : filled(std::make_unique<IndexFlatIP>(flat.d));
}

void add(
        faiss::Index& index,
        int64_t n,
        const float* x,
        const int64_t* xids,
        const std::string& device) {
    require(x != nullptr || n == 0, "x is null with n=" + std::to_string(n));
    require(index.is_trained, "add: the index is not trained (is_trained=0)");
    require_finite(index, n, x);
    add_finite(index, n, x, xids, device);
}

} // namespace faiss_flash
