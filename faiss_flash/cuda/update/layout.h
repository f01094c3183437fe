/// The order of a cluster's sums in memory.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

namespace faiss_flash::cuda {

/// Where a cluster's sums of the columns lie: lanes write to neighbouring places at a time.
struct SumLayout {
    int lane_bits = 0;   ///< a group has 2^lane_bits lanes
    int vector_bits = 0; ///< a lane has 2^vector_bits columns
    int places = 0;      ///< of a limb, the last one for the sum of the weights

    SumLayout() = default;
    /// For d columns, of which a lane takes `vector` that lie side by side: a power of two.
    SumLayout(int64_t d, int64_t vector) {
        while ((1 << vector_bits) < vector) {
            vector_bits++;
        }
        while (lanes() < 32 && slice() < d) {
            lane_bits++;
        }
        places = static_cast<int>((d + slice() - 1) / slice()) * slice() + 1;
    }

    __host__ __device__ int lanes() const { return 1 << lane_bits; }
    __host__ __device__ int slice() const { return 1 << (lane_bits + vector_bits); }
    __host__ __device__ int column(int place) const {
        const int within = place & (slice() - 1);
        const int lane = within & (lanes() - 1);
        return place - within + (lane << vector_bits) + (within >> lane_bits);
    }
    /// Where a column's sum lies.
    __host__ __device__ int place(int column) const {
        const int within = column & (slice() - 1);
        const int of_lane = within & ((1 << vector_bits) - 1);
        return column - within + (of_lane << lane_bits) + (within >> vector_bits);
    }
};

} // namespace faiss_flash::cuda
