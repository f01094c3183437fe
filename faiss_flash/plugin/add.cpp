#include <faiss/IndexIVF.h>
#include <faiss/impl/IDSelector.h>
#include <faiss_flash/plugin/added_rows.h>
#include <faiss_flash/plugin/caller_rows.h>
#include <faiss_flash/plugin/containers.h>
#include <faiss_flash/plugin/errors.h>
#include <faiss_flash/plugin/flat_index.h>
#include <faiss_flash/plugin/stand_in.h>
#include <faiss_flash/plugin/undo.h>
#include <faiss_flash/train.h>

#include <memory>
#include <optional>

namespace faiss_flash {

namespace {

/// Before the vectors: these cannot be taken out again.
void add_ids(Undo& undo, faiss::IndexIDMap& mapping, int64_t n, const int64_t* xids) {
    auto* both_ways = dynamic_cast<faiss::IndexIDMap2*>(&mapping);
    const int64_t first = mapping.ntotal;
    undo.at_end([&mapping, both_ways, first] {
        mapping.id_map.resize(static_cast<size_t>(first));
        if (both_ways) {
            both_ways->construct_rev_map();
        }
    });
    mapping.id_map.insert(mapping.id_map.end(), xids, xids + n);
    for (int64_t i = 0; i < n && both_ways; i++) {
        both_ways->rev_map[xids[i]] = first + i;
    }
}

void add_finite(
        faiss::Index& index,
        int64_t n,
        const float* x,
        const int64_t* xids,
        const std::string& device) {
    faiss::IndexIDMap* mapping = as_mapping(index);
    faiss::IndexRefine* refining = as_refining(index);
    if (faiss::IndexPreTransform* transforming = as_transforming(index)) {
        const float* transformed = transforming->apply_chain(n, x);
        const std::unique_ptr<const float[]> owner(transformed == x ? nullptr : transformed);
        if (owner) {
            require_finite(n, transformed, transforming->index->d, "the transformed x");
        }
        add_finite(*transforming->index, n, transformed, xids, device);
        transforming->ntotal = transforming->index->ntotal;
    } else if (mapping && xids) {
        Undo undo;
        add_ids(undo, *mapping, n, xids);
        add_finite(*mapping->index, n, x, nullptr, device);
        mapping->ntotal = mapping->index->ntotal;
        undo.commit();
    } else if (refining && !xids) {
        Undo undo;
        faiss::Index& refine = *refining->refine_index;
        undo.at_end([&refine, before = refining->ntotal] {
            const faiss::IDSelectorRange added(before, refine.ntotal);
            refine.remove_ids(added);
        });
        add_finite(refine, n, x, nullptr, device);
        add_finite(*refining->base_index, n, x, nullptr, device);
        refining->ntotal = refine.ntotal;
        undo.commit();
    } else {
        Undo undo;
        std::optional<StandIn> quantizer;
        if (auto* ivf = dynamic_cast<faiss::IndexIVF*>(&index)) {
            keep_counts(undo, *ivf);
            quantizer.emplace(
                    *ivf,
                    Service{device},
                    [&, ivf](int64_t count, const float*, const int64_t* lists) {
                        keep_lists(undo, *ivf, count, lists);
                        return true;
                    });
        }
        if (xids) {
            index.add_with_ids(n, x, xids);
        } else {
            index.add(n, x);
        }
        undo.commit();
    }
}

} // namespace

void add(
        faiss::Index& index,
        int64_t n,
        const float* x,
        const int64_t* xids,
        const std::string& device) {
    require(index.is_trained, "add: the index is not trained (is_trained=0)");
    require_finite(n, x, index.d);
    with_faiss_errors([&] { add_finite(index, n, x, xids, device); });
}

} // namespace faiss_flash
