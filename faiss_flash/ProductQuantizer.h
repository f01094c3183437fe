/// Training of product quantizers on the engine.
#pragma once

#include <faiss/impl/ProductQuantizer.h>

#include <cstdint>
#include <string>

namespace faiss_flash {

/// Does what pq.train(n, x) does, with all sub-spaces as one batch of exact k-means problems.
/// Train types default, hot_start and shared; hypercubes, another assign_index or init_method go to
/// FAISS itself. Errors are faiss::FaissException; the codebook is as it was then.
/// @param x       [n x pq.d], finite, n >= pq.ksub
/// @param device  where the engine runs: see KMeansOptions::device
void train(
        faiss::ProductQuantizer& pq, int64_t n, const float* x, const std::string& device = "auto");

} // namespace faiss_flash
