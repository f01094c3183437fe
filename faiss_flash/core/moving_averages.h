/// E-means' rules: how a batch moves the averages of clusters, and who takes over from whom.
///
/// A cluster has a usage u, the moving average of its points' weight in a batch, and sums s, those
/// of their coordinates; its centroid is s / u. All of it is float64, rounded step by step, so that
/// every backend has the same bits (no contraction to fused multiply-adds where this is compiled).
/// Source of rules and constants: FAISS, contrib/e_means.py (2026).
#pragma once

#include <faiss_flash/core/double_double.h>
#include <faiss_flash/core/format.h>
#include <faiss_flash/core/row_order.h>
#include <faiss_flash/core/rules.h>

#include <cfloat>
#include <cstdint>
#include <vector>

namespace faiss_flash {

inline constexpr double kFirstUsage = 0x1p-16;  ///< of all clusters, whose sums are u c
inline constexpr double kLeastUsage = 1e-5;     ///< that sums are divided by
inline constexpr int kReviveEvery = 5;          ///< batches
inline constexpr int64_t kReviveBelow = 10;     ///< a cluster below 1 / 10 of the mean usage is
                                                ///< given half of another,
inline constexpr double kReviveShift = 1e-4;    ///< which moves apart by so much of itself
inline constexpr int64_t kDrawsTogether = 1024; ///< of donors

/// A batch of e-means.
struct EmeansBatch {
    int64_t first, count; ///< its rows
    double alpha;         ///< its share of the averages, of 24 bits
    uint64_t seed;        ///< of the draws where `revives`
    bool revives;         ///< clusters of little usage are given half of others after it
    bool begins;          ///< an epoch
    bool closes;          ///< it is one of the last epoch's, whose means are the result
};

/// What becomes of a usage or a sum.
FAISS_FLASH_HOST_DEVICE inline double moved_average(double average, double of_batch, double alpha) {
    return average * (1 - alpha) + of_batch * alpha;
}

/// A whole step (alpha 1) leaves clusters without rows as they are.
FAISS_FLASH_HOST_DEVICE inline bool stays(double weight, double alpha) {
    return alpha == 1 && weight == 0;
}

FAISS_FLASH_HOST_DEVICE inline double inverse_of_usage(double usage) {
    return 1 / (usage > kLeastUsage ? usage : kLeastUsage);
}

/// A column of a centroid; next to the end of float32 it does not become an infinity.
FAISS_FLASH_HOST_DEVICE inline float centroid_of(double sum, double inverse_usage) {
    constexpr double kMost = FLT_MAX;
    const double value = sum * inverse_usage;
    return static_cast<float>(value > kMost ? kMost : value < -kMost ? -kMost : value);
}

/// Column j of the centroid that a pair is made of, for the revived one and for its donor.
FAISS_FLASH_HOST_DEVICE inline double shifted(double centroid, int64_t column, bool revived) {
    const double shift = (column % 2 == 0) == revived ? kReviveShift : -kReviveShift;
    return centroid * (1 + shift);
}

/// Usage as an integer: sums of these are the same in any order.
FAISS_FLASH_HOST_DEVICE inline int64_t usage_units(double usage, double scale) {
    return static_cast<int64_t>(usage * scale);
}

/// A power of two: no sum of k usages passes 2^51 units.
/// @param facts  of the one problem, whose batches are of so many rows
double usage_scale(const ColumnRange& facts, int64_t batch, int64_t k);

/// The i-th draw: a number below total.
FAISS_FLASH_HOST_DEVICE inline int64_t donor_draw(uint64_t seed, int64_t i, int64_t total) {
    const auto number = random_number(seed, static_cast<uint64_t>(i)) >> 11; // 53 bits
    const double share = static_cast<double>(number) * 0x1p-53;
    const auto draw = static_cast<int64_t>(share * static_cast<double>(total));
    return draw < total ? draw : total - 1; // the product was rounded
}

/// Draws of which donors come: enough for nearly all, where few clusters have all the usage.
FAISS_FLASH_HOST_DEVICE inline int64_t most_donor_draws(int64_t revived) {
    return kDrawsTogether * (32 + revived / 128);
}

/// The clusters below a tenth of the mean usage and their donors, others drawn without replacement
/// in proportion to their usage: draw by draw, those drawn before count as not drawn. `units` [k]
/// are usage_units().
std::vector<Split> choose_donors(const std::vector<int64_t>& units, uint64_t seed);

/// The batches of a run over n points.
class EmeansSchedule {
   public:
    EmeansSchedule(int64_t n, int64_t k, const KMeansOptions& options);

    int64_t batches() const { return batches_; } ///< an epoch
    /// Batch i of an epoch. They come in another order every epoch, but for the last one, which may
    /// be shorter.
    EmeansBatch batch(uint64_t seed, int64_t epoch, int64_t i) const;

   private:
    int64_t n_, epochs_;
    EmeansRecipe recipe_;
    int64_t batches_;
};

} // namespace faiss_flash
