/// Training of an index and of what is in it, for rows that have been looked at.
#pragma once

#include <faiss/Index.h>
#include <faiss/IndexIVF.h>
#include <faiss_flash/plugin/options.h>

#include <cstdint>
#include <functional>

namespace faiss_flash {

/// Does what index.train(n, x) does, as train() promises, but for bad rows and for failures.
void train_part(faiss::Index& index, int64_t n, const float* x, const Service& service);

/// Runs own_train, the training of FAISS or of a user that ivf's class has. What it trains its
/// quantizer on is clustered by the engine, and so are codebooks.
void train_ivf(
        faiss::IndexIVF& ivf,
        int64_t n,
        const float* x,
        const Service& service,
        const std::function<void()>& own_train);

} // namespace faiss_flash
