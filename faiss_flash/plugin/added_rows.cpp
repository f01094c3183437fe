#include <faiss_flash/plugin/added_rows.h>

#include <faiss/IndexIVFPQR.h>
#include <faiss/invlists/BlockInvertedLists.h>

#include <algorithm>
#include <vector>

namespace faiss_flash {

namespace {

struct List {
    size_t number;
    size_t size;
    std::vector<uint8_t> last_block; ///< where FAISS sets bits of it as rows are appended
};

void put_back(faiss::InvertedLists& lists, const List& list) {
    lists.resize(list.number, list.size);
    if (!list.last_block.empty()) {
        const auto& blocks = dynamic_cast<const faiss::BlockInvertedLists&>(lists);
        const auto* codes = blocks.get_codes(list.number);
        auto* block =
                const_cast<uint8_t*>(codes) + list.size / blocks.n_per_block * blocks.block_size;
        std::copy(list.last_block.begin(), list.last_block.end(), block);
    }
}

} // namespace

void keep_counts(Undo& undo, faiss::IndexIVF& ivf) {
    undo.at_end([&ivf, rows = ivf.ntotal] {
        ivf.ntotal = rows;
        faiss::DirectMap& map = ivf.direct_map;
        if (map.type == faiss::DirectMap::Array) {
            map.array.resize(static_cast<size_t>(rows));
        } else if (map.type == faiss::DirectMap::Hashtable) { // may have lost ids that came again
            map.set_type(faiss::DirectMap::NoMap, ivf.invlists, 0);
            map.set_type(faiss::DirectMap::Hashtable, ivf.invlists, static_cast<size_t>(rows));
        }
    });
    if (auto* refined = dynamic_cast<faiss::IndexIVFPQR*>(&ivf)) {
        undo.at_end([codes = &refined->refine_codes, bytes = refined->refine_codes.size()] {
            codes->resize(bytes);
        });
    }
}

void keep_lists(Undo& undo, faiss::IndexIVF& ivf, int64_t n, const int64_t* lists) {
    const auto* blocks = dynamic_cast<const faiss::BlockInvertedLists*>(ivf.invlists);
    std::vector<bool> known(ivf.nlist);
    std::vector<List> before;
    for (int64_t i = 0; i < n; i++) {
        const auto number = static_cast<size_t>(lists[i]);
        if (lists[i] < 0 || known[number]) {
            continue;
        }
        known[number] = true;
        List list{number, ivf.invlists->list_size(number), {}};
        if (blocks && list.size % blocks->n_per_block != 0) {
            const uint8_t* block = blocks->get_codes(number) +
                                   list.size / blocks->n_per_block * blocks->block_size;
            list.last_block.assign(block, block + blocks->block_size);
        }
        before.push_back(std::move(list));
    }
    undo.at_end([&ivf, before = std::move(before)] {
        for (const List& list : before) {
            put_back(*ivf.invlists, list);
        }
    });
}

} // namespace faiss_flash
