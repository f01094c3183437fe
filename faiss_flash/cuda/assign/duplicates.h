/// Centroids that equal one of a lower id bit for bit (-0 is +0): ties that any number of them
/// would leave to every near row are settled at once.
#pragma once

#include <faiss_flash/cuda/runtime/buffer.h>

#include <cstdint>

namespace faiss_flash::cuda {

struct CentroidTable;

/// Centroids by a hash of their bits: open addressing, filled by prepare_centred(). Takes 24 to 48
/// bytes a centroid, 4 more for its place.
struct DuplicateTable {
    DuplicateTable(int64_t k, cudaStream_t stream);
    static int64_t bytes(int64_t k) { return 12 * slots_of(k) + 4 * k; }
    static int64_t slots_of(int64_t k);

    int64_t slots;
    Buffer<unsigned long long> hashes; ///< [slots] 0 = free
    Buffer<int32_t> lowest;            ///< [slots] id of a hash
    Buffer<int32_t> places;            ///< [k] a centroid's slot
};

/// Biases of -inf for all but the lowest id of equal centroids [k x d]: they are nobody's best.
void drop_duplicates(
        const float* centroids,
        const DuplicateTable& duplicates,
        CentroidTable& table,
        cudaStream_t stream);

} // namespace faiss_flash::cuda
