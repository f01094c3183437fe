#include <faiss/IndexIVF.h>
#include <faiss/IndexPreTransform.h>
#include <faiss/IndexRefine.h>
#include <faiss/MetaIndexes.h>
#include <faiss/index_factory.h>
#include <faiss_flash/IndexFlat.h>
#include <faiss_flash/index_factory.h>
#include <faiss_flash/plugin/errors.h>
#include <faiss_flash/plugin/flat_index.h>
#include <faiss_flash/train.h>

namespace faiss_flash {

namespace {

template <class Flat>
std::unique_ptr<faiss::Index> on_engine(const faiss::IndexFlat& flat, const std::string& device) {
    auto copy = std::make_unique<Flat>(flat.d);
    copy->device = device;
    copy->add(flat.ntotal, flat.get_xb());
    copy->is_trained = flat.is_trained;
    return copy;
}

/// The way of training is left as it is: FAISS's k-means over a flat quantizer, which searches it.
/// So the IVF's parameters count as they are then; and a clone or a file of an untrained index,
/// whose quantizer is a plain flat one, can be trained as well.
void accelerate_ivf(faiss::IndexIVF& ivf, const std::string& device) {
    const faiss::IndexFlat* flat = ivf.quantizer ? as_flat(*ivf.quantizer) : nullptr;
    if (!flat || ivf.quantizer_trains_alone == 1) {
        return;
    }
    std::unique_ptr<faiss::Index> quantizer = flat->metric_type == faiss::METRIC_L2
                                                      ? on_engine<IndexFlatL2>(*flat, device)
                                                      : on_engine<IndexFlatIP>(*flat, device);
    if (ivf.own_fields) {
        delete ivf.quantizer;
    }
    ivf.quantizer = quantizer.release();
    ivf.own_fields = true;
}

} // namespace

void accelerate(faiss::Index& index, const std::string& device) {
    if (auto* transforming = dynamic_cast<faiss::IndexPreTransform*>(&index)) {
        accelerate(*transforming->index, device);
    } else if (auto* mapping = dynamic_cast<faiss::IndexIDMap*>(&index)) {
        accelerate(*mapping->index, device);
    } else if (auto* refining = dynamic_cast<faiss::IndexRefine*>(&index)) {
        accelerate(*refining->base_index, device);
        accelerate(*refining->refine_index, device);
    } else if (auto* ivf = dynamic_cast<faiss::IndexIVF*>(&index)) {
        accelerate_ivf(*ivf, device);
    }
}

std::unique_ptr<faiss::Index> index_factory(
        int d, const char* description, faiss::MetricType metric, const std::string& device) {
    require(description != nullptr, "description is null");
    std::unique_ptr<faiss::Index> index(faiss::index_factory(d, description, metric));
    accelerate(*index, device);
    return index;
}

} // namespace faiss_flash
