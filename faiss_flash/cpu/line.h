/// Assignment of points with one coordinate.
#pragma once

#include <faiss_flash/kmeans.h>

#include <cstdint>
#include <vector>

namespace faiss_flash::cpu {

/// Centroids on a line, in order: log2 K comparisons find a point's neighbours.
class LineCentroids {
   public:
    LineCentroids(const float* centroids, int64_t k, Metric metric);

    /// The best centroids of `count` points, float64's, ties to the lowest id.
    /// @param points  point i at points + i * stride (floats)
    /// @param ids     [count] -1 for a NaN or an Inf
    /// @param values  [count] squared distance or product in float64, NaN where the id is -1
    void assign(
            const float* points, int64_t stride, int64_t count, int32_t* ids, double* values) const;

   private:
    struct Best {
        int32_t id;
        double value;
    };
    double distance(float x, size_t i) const;
    void bisect(const float* x, size_t* positions) const;
    Best nearest(float x, size_t right) const;
    Best highest_product(float x) const;

    const Metric metric_;
    std::vector<float> values_; // without duplicates, between two infinities on each side
    std::vector<int32_t> ids_;  // the lowest with that value
};

} // namespace faiss_flash::cpu
