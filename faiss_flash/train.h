/// Training of any FAISS index with its coarse k-means on the engine.
#pragma once

#include <faiss/Index.h>

#include <cstdint>
#include <string>

namespace faiss_flash {

/// Does what index.train(n, x) does, with the k-means of the coarse quantizer of an IndexIVF run by
/// faiss_flash::Clustering. The IVF is found through IndexPreTransform, IndexIDMap and IndexRefine;
/// what has no coarse quantizer is trained by FAISS itself. The result is an ordinary index.
/// A training that fails leaves the quantizer as it was.
/// @param x       [n x index.d], finite
/// @param device  where the engine runs: see KMeansOptions::device
void train(faiss::Index& index, int64_t n, const float* x, const std::string& device = "auto");

} // namespace faiss_flash
