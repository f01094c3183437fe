/// Codebooks of product quantizers that FAISS's own training shall find done.
#pragma once

#include <faiss/impl/ProductQuantizer.h>

#include <cstdint>
#include <string>
#include <vector>

namespace faiss_flash {

/// While one lives, FAISS's training of the quantizer keeps the codebook that the engine has found
/// for x [n x d]: it starts from it and makes no iteration. Where the engine does not train such a
/// quantizer nothing is changed.
class TrainedCodebook {
   public:
    TrainedCodebook(
            faiss::ProductQuantizer& pq, int64_t n, const float* x, const std::string& device);
    /// Parameters are what they were; without commit() the codebook is as well.
    ~TrainedCodebook();
    TrainedCodebook(const TrainedCodebook&) = delete;
    TrainedCodebook& operator=(const TrainedCodebook&) = delete;

    void commit() { done_ = true; }

   private:
    faiss::ProductQuantizer& pq_;
    const faiss::ProductQuantizer::train_type_t train_type_;
    const int niter_;
    std::vector<float> before_;
    bool done_ = false;
};

/// x [n x d] less what is left of it after encoding with the quantizer and decoding.
std::vector<float> rest_after(const faiss::ProductQuantizer& pq, int64_t n, const float* x);

} // namespace faiss_flash
