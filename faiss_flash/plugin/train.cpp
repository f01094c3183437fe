#include <faiss_flash/train.h>

#include <faiss/IndexIVF.h>
#include <faiss/IndexPreTransform.h>
#include <faiss/IndexRefine.h>
#include <faiss/MetaIndexes.h>
#include <faiss_flash/plugin/coarse_quantizer.h>
#include <faiss_flash/plugin/errors.h>

#include <memory>

namespace faiss_flash {

namespace {

/// Trains the transforms, each on what the ones before make of x, then the index behind them.
void train_behind_transforms(
        faiss::IndexPreTransform& index, int64_t n, const float* x, const std::string& device) {
    std::unique_ptr<float[]> transformed;
    const float* current = x;
    for (faiss::VectorTransform* transform : index.chain) {
        if (!transform->is_trained) {
            transform->train(n, current);
        }
        transformed.reset(transform->apply(n, current));
        current = transformed.get();
    }
    train(*index.index, n, current, device);
    index.is_trained = true;
}

} // namespace

void train(faiss::Index& index, int64_t n, const float* x, const std::string& device) {
    require(x != nullptr, "x is null with n=" + std::to_string(n));
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
        train_coarse_quantizer(*ivf, n, x, device, [=] { ivf->train(n, x); });
    } else {
        index.train(n, x);
    }
}

} // namespace faiss_flash
