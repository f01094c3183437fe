/// Centroids that equal one of a lower id bit for bit (-0 is +0): ties that any number of them
/// would leave to every near row are settled at once.
#pragma once

#include <faiss_flash/cuda/runtime/arena.h>

#include <cstdint>

namespace faiss_flash::cuda {

struct TensorCentroids;

/// Centroids by a hash of their bits: open addressing, filled by prepare_centred(). Takes 24 to 48
/// bytes a centroid, 4 more for its place.
struct DuplicateTable {
    DuplicateTable() = default;
    DuplicateTable(int64_t k, Arena& arena);
    /// All slots are free.
    void clear(cudaStream_t stream) const;

    int64_t slots = 0;
    unsigned long long* hashes = nullptr; ///< [slots] 0 = free
    int32_t* lowest = nullptr;            ///< [slots] id of a hash
    int32_t* places = nullptr;            ///< [k] a centroid's slot
};

/// Biases of -inf for all but the lowest id of equal centroids [k x d]: they are nobody's best.
void drop_duplicates(
        const float* centroids,
        const DuplicateTable& duplicates,
        TensorCentroids& table,
        cudaStream_t stream);

} // namespace faiss_flash::cuda
