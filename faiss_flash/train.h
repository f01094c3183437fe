/// Training and filling of any FAISS index with its k-means and assignments on the engine.
///
/// In all of these, `device` is where the engine runs: see KMeansOptions::device. Errors are
/// faiss::FaissException naming the argument; rows must be finite, and one that is not is named as
/// x[row][column]. faiss::InterruptCallback ends what takes long.
#pragma once

#include <faiss/Index.h>

#include <cstdint>
#include <string>

namespace faiss_flash {

/// Does what index.train(n, x) does, with the k-means of coarse quantizers, product quantizers and
/// OPQ on the engine, behind IndexPreTransform, IndexIDMap and IndexRefine too. What has no
/// k-means, or one that cannot be redirected (plugin/README.md), is trained by FAISS itself; what
/// the train() of the index's own class does first, leaving out duplicates for example, is done.
/// The result is an ordinary index. A training that fails leaves all parts of the index,
/// quantizers, transforms, codebooks, tables and flags, as they were.
/// @param x          [n x index.d]
/// @param algorithm  of coarse quantizers' k-means: see Clustering::algorithm
void train(
        faiss::Index& index,
        int64_t n,
        const float* x,
        const std::string& device = "auto",
        const std::string& algorithm = "default");

/// Does what index.add(n, x), or add_with_ids(n, x, xids), does, with the coarse assignments of an
/// IVF with a flat quantizer on the engine, where n is at least 512 and 4 d; fewer rows are
/// assigned by FAISS, which is faster then. Lists, ids and direct maps are those of FAISS with the
/// same centroids, but for rows whose nearest centroid float32 arithmetic gets wrong.
/// @param x     [n x index.d]; where a row is rejected nothing is added
/// @param xids  [n] or null
void add(
        faiss::Index& index,
        int64_t n,
        const float* x,
        const int64_t* xids = nullptr,
        const std::string& device = "auto");

/// Makes the index's own train(), add() and searches with nprobe = 1 use the engine for coarse
/// assignments: a flat quantizer is replaced by a faiss_flash::IndexFlatL2 or IndexFlatIP with the
/// same vectors, which the IVF owns (one that it did not own is left to its owner, unused). Its own
/// train() is FAISS's else: Lloyd's, with the parameters that the IVF has then, means in float32,
/// codebooks and OPQ by FAISS, and nothing put back where it fails. train() above is faster, on a
/// GPU several times, and does the whole k-means of all of these on the engine, for accelerated
/// indexes too.
void accelerate(faiss::Index& index, const std::string& device = "auto");

} // namespace faiss_flash
