/// Training of an IVF's coarse quantizer on the engine.
#pragma once

#include <faiss/IndexIVF.h>
#include <faiss_flash/plugin/options.h>

#include <cstdint>

namespace faiss_flash {

/// Fills the quantizer, unless it is full, by faiss_flash::Clustering, with the meaning that FAISS
/// gives to nlist, quantizer_trains_alone, cp and clustering_index now.
void train_coarse_quantizer(
        faiss::IndexIVF& ivf, int64_t n, const float* x, const Service& service);

} // namespace faiss_flash
