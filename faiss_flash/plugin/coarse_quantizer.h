/// Training of an IVF's coarse quantizer on the engine.
#pragma once

#include <faiss/IndexIVF.h>

#include <cstdint>
#include <functional>
#include <string>

namespace faiss_flash {

/// Fills the quantizer by faiss_flash::Clustering, with the meaning that FAISS gives to
/// quantizer_trains_alone, cp and clustering_index, then runs `finish`, which finds it done and
/// trains what is left. If anything fails a flat quantizer is put back as it was.
void train_coarse_quantizer(
        faiss::IndexIVF& ivf,
        int64_t n,
        const float* x,
        const std::string& device,
        const std::function<void()>& finish);

} // namespace faiss_flash
