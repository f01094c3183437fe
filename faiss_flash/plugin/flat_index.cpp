#include <faiss_flash/plugin/flat_index.h>

namespace faiss_flash {

const faiss::IndexFlat* as_flat(const faiss::Index& index) {
    const bool known = index.metric_type == faiss::METRIC_L2 ||
                       index.metric_type == faiss::METRIC_INNER_PRODUCT;
    return known ? dynamic_cast<const faiss::IndexFlat*>(&index) : nullptr;
}

Metric engine_metric(faiss::MetricType metric) {
    return metric == faiss::METRIC_INNER_PRODUCT ? Metric::inner_product : Metric::l2;
}

bool assign_by_engine(
        const faiss::Index& index,
        int64_t n,
        const float* x,
        float* distances,
        int64_t* labels,
        const std::string& device) {
    // The engine reads and packs all vectors once a call: about two queries' worth of work.
    constexpr int64_t kFewQueries = 32;
    const faiss::IndexFlat* flat = as_flat(index);
    if (!flat || n < kFewQueries || flat->ntotal == 0) {
        return false;
    }
    assign(VectorView::of(x, n, flat->d),
           VectorView::of(flat->get_xb(), flat->ntotal, flat->d),
           engine_metric(flat->metric_type),
           labels,
           distances,
           device);
    return true;
}

} // namespace faiss_flash
