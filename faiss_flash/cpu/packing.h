/// Scored centroids in the layouts that the kernels read.
#pragma once

#include <faiss_flash/cpu/aligned.h>
#include <faiss_flash/cpu/codes.h>
#include <faiss_flash/cpu/narrow.h>
#include <faiss_flash/cpu/scores.h>

#include <cstdint>
#include <vector>

namespace faiss_flash::cpu {

/// Of loops that pack: those of one thread.
constexpr int64_t kCentroidsAtATime = 192; // whole panels of every kernel but BLAS's

/// What scores are made of (centroid_cell.h): score = x' . c' + bias, off by at most
/// fixed + slope |x'|, and by what all centroids have in common.
struct ScoredCentroids {
    struct Score {
        double bias, fixed, slope;
    };
    int64_t d;
    AlignedFloats rows;        // [k x d] c'
    std::vector<Score> scores; // [k]
};

class PackedPanels {
   public:
    PackedPanels() = default;
    PackedPanels(const ScoredCentroids& centroids, const ScoreKernel& kernel);
    PackedCentroids view() const { return {data_.get(), k_, columns_}; }

   private:
    int64_t k_ = 0;
    int64_t columns_ = 0;
    AlignedFloats data_;
};

class CodedPanels {
   public:
    CodedPanels() = default;
    CodedPanels(const ScoredCentroids& centroids, const CodeKernel& kernel);
    CodedCentroids view() const { return {data_.get(), k_, columns_}; }

   private:
    void pack(
            const ScoredCentroids& centroids,
            int64_t place,
            const CodeKernel& kernel,
            float* column,
            int64_t width);

    int64_t k_ = 0;
    int64_t columns_ = 0;
    AlignedFloats data_;
};

class PackedGroups {
   public:
    PackedGroups() = default;
    /// @param plain  [k] the centroids as they were given
    PackedGroups(const ScoredCentroids& centroids, const std::vector<const float*>& plain);
    /// Of what is packed here; the rest is the caller's.
    NarrowCentroids view() const;

   private:
    int64_t d_ = 0;
    AlignedFloats scored_;
    AlignedFloats plain_;
    std::vector<float> errors_;
    std::vector<int32_t> places_;
};

} // namespace faiss_flash::cpu
