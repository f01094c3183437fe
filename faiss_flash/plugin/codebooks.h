/// Codebooks of product quantizers that FAISS's own training shall find done.
#pragma once

#include <faiss/impl/ProductQuantizer.h>
#include <faiss_flash/plugin/undo.h>

#include <cstdint>
#include <string>
#include <vector>

namespace faiss_flash {

/// Trains the codebook on x [n x d] by the engine and has FAISS's training of the quantizer keep
/// it, by starting from it and making no iteration, until `parameters` puts these back. Where the
/// engine does not train such a quantizer nothing is done.
void put_codebook(
        Undo& parameters,
        faiss::ProductQuantizer& pq,
        int64_t n,
        const float* x,
        const std::string& device);

/// x [n x d] less what is left of it after encoding with the quantizer and decoding.
std::vector<float> rest_after(const faiss::ProductQuantizer& pq, int64_t n, const float* x);

} // namespace faiss_flash
