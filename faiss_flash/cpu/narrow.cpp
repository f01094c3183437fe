/// Compiled once per instruction set with FAISS_FLASH_ISA naming it, as row_ops.cpp is.
///
/// Budget: k (d + 1) vector instructions for as many points as a vector has lanes.
///
/// 1. Points are the lanes. A tile of them goes over the centroids in groups of 16, whose highest
///    score alone is kept: one FMA a coordinate and one maximum a centroid.
/// 2. Each point remembers the group of its best score, and whether another group comes within
///    the margin.
/// 3. That group, or else all, is gone over once more for each point, with centroids as lanes:
/// where
///    one is within the margin it is the nearest; of several, float64 decides.
#include <faiss_flash/cpu/narrow.h>

#include <immintrin.h>

#define FAISS_FLASH_JOIN_(prefix, name) prefix##name
#define FAISS_FLASH_JOIN(prefix, name) FAISS_FLASH_JOIN_(prefix, name)
#define FAISS_FLASH_TEXT_(name) #name
#define FAISS_FLASH_TEXT(name) FAISS_FLASH_TEXT_(name)

namespace faiss_flash::cpu {

namespace {

#ifdef __AVX512F__
constexpr int64_t kLanes = 16;
using Vector = __m512;
inline Vector load(const float* from) {
    return _mm512_load_ps(from);
}
inline void store(float* to, Vector a) {
    _mm512_store_ps(to, a);
}
inline Vector all(float value) {
    return _mm512_set1_ps(value);
}
inline Vector multiply_add(Vector a, Vector b, Vector c) {
    return _mm512_fmadd_ps(a, b, c);
}
inline Vector add(Vector a, Vector b) {
    return _mm512_add_ps(a, b);
}
inline Vector subtract(Vector a, Vector b) {
    return _mm512_sub_ps(a, b);
}
inline Vector multiply(Vector a, Vector b) {
    return _mm512_mul_ps(a, b);
}
inline Vector root(Vector a) {
    return _mm512_sqrt_ps(a);
}
inline Vector larger(Vector a, Vector b) {
    return _mm512_max_ps(a, b);
}
inline unsigned reaches(Vector a, Vector b) {
    return _mm512_cmp_ps_mask(a, b, _CMP_GE_OQ);
}
inline unsigned exceeds(Vector a, Vector b) {
    return _mm512_cmp_ps_mask(a, b, _CMP_GT_OQ);
}
#else
constexpr int64_t kLanes = 8;
using Vector = __m256;
inline Vector load(const float* from) {
    return _mm256_load_ps(from);
}
inline void store(float* to, Vector a) {
    _mm256_store_ps(to, a);
}
inline Vector all(float value) {
    return _mm256_set1_ps(value);
}
inline Vector multiply_add(Vector a, Vector b, Vector c) {
    return _mm256_fmadd_ps(a, b, c);
}
inline Vector add(Vector a, Vector b) {
    return _mm256_add_ps(a, b);
}
inline Vector subtract(Vector a, Vector b) {
    return _mm256_sub_ps(a, b);
}
inline Vector multiply(Vector a, Vector b) {
    return _mm256_mul_ps(a, b);
}
inline Vector root(Vector a) {
    return _mm256_sqrt_ps(a);
}
inline Vector larger(Vector a, Vector b) {
    return _mm256_max_ps(a, b);
}
inline unsigned mask_of(Vector a) {
    return static_cast<unsigned>(_mm256_movemask_ps(a));
}
inline unsigned reaches(Vector a, Vector b) {
    return mask_of(_mm256_cmp_ps(a, b, _CMP_GE_OQ));
}
inline unsigned exceeds(Vector a, Vector b) {
    return mask_of(_mm256_cmp_ps(a, b, _CMP_GT_OQ));
}
#endif

constexpr int64_t kGroup = NarrowCentroids::kGroup;

/// Squared distance or product, in row_ops.h's order of summation.
template <int64_t kColumns>
double measured(const float* x, const float* c, bool l2) {
    double lanes[8] = {};
    for (int64_t j = 0; j < kColumns; j++) {
        const double a = x[j];
        const double b = c[j];
        lanes[j % 8] += l2 ? (a - b) * (a - b) : a * b;
    }
    return ((lanes[0] + lanes[4]) + (lanes[2] + lanes[6])) +
           ((lanes[1] + lanes[5]) + (lanes[3] + lanes[7]));
}

/// The centroids of a group, as bits, whose scores reach the bar.
template <int64_t kColumns>
unsigned reaching(const float* group, const float* x, int64_t step, float bar) {
    unsigned bits = 0;
    for (int64_t part = 0; part < kGroup; part += kLanes) {
        Vector scores = load(group + part);
        for (int64_t j = 0; j < kColumns; j++) {
            scores = multiply_add(all(x[j * step]), load(group + kGroup * (j + 1) + part), scores);
        }
        bits |= reaches(scores, all(bar)) << part;
    }
    return bits;
}

/// Points of one tile, with what is known of them.
template <int64_t kColumns>
struct Tile {
    static constexpr int64_t kVectors = kColumns == 4 ? 4 : 2;
    static constexpr int64_t kPoints = kVectors * kLanes;

    alignas(64) float centred[kColumns][kPoints];
    alignas(64) float margin[kPoints];
    alignas(64) float best[kPoints];
    float plain[kPoints][kColumns];
    int32_t group[kPoints];
    unsigned open[kVectors];

    /// Rows from `count` on are copies of the last one.
    void load_rows(
            const NarrowCentroids& centroids, const float* rows, int64_t stride, int64_t count) {
        for (int64_t i = 0; i < kPoints; i++) {
            const float* row = rows + (i < count ? i : count - 1) * stride;
            for (int64_t j = 0; j < kColumns; j++) {
                plain[i][j] = j < centroids.d ? row[j] : 0.0f;
                centred[j][i] = plain[i][j];
            }
        }
        for (int64_t v = 0; v < kPoints; v += kLanes) {
            Vector square = all(0);
            for (int64_t j = 0; j < kColumns; j++) {
                const Vector moved = subtract(load(centred[j] + v), all(centroids.mean[j]));
                const Vector value = multiply(moved, all(centroids.scale));
                store(centred[j] + v, value);
                square = multiply_add(value, value, square);
            }
            // A bound: a sum of float32 squares, some of which may have vanished.
            const Vector length = multiply_add(root(square), all(1 + 0x1p-16f), all(1e-18f));
            Vector bound = multiply_add(all(centroids.margin[2]), length, all(centroids.margin[1]));
            bound = multiply_add(bound, length, all(centroids.margin[0]));
            store(margin + v, bound);
            // Written so that a NaN has no margin either.
            const unsigned known = exceeds(all(centroids.longest), length);
            for (int64_t lane = 0; lane < kLanes; lane++) {
                if (!(known >> lane & 1)) {
                    margin[v + lane] = __builtin_inff();
                }
            }
        }
    }

    void find_groups(const NarrowCentroids& centroids) {
        Vector points[kVectors][kColumns];
        Vector margins[kVectors];
        Vector highest[kVectors];
        for (int64_t v = 0; v < kVectors; v++) {
            for (int64_t j = 0; j < kColumns; j++) {
                points[v][j] = load(centred[j] + v * kLanes);
            }
            margins[v] = load(margin + v * kLanes);
            highest[v] = all(-__builtin_inff());
            open[v] = 0;
        }
        const float* at = centroids.groups;
        for (int64_t g = 0; g < centroids.group_count; g++, at += kGroup * (kColumns + 1)) {
            Vector top[kVectors];
            for (Vector& value : top) {
                value = all(-__builtin_inff());
            }
            for (int64_t c = 0; c < kGroup; c++) {
                Vector scores[kVectors];
                for (Vector& score : scores) {
                    score = all(at[c]);
                }
                for (int64_t j = 0; j < kColumns; j++) {
                    const Vector coordinate = all(at[kGroup * (j + 1) + c]);
                    for (int64_t v = 0; v < kVectors; v++) {
                        scores[v] = multiply_add(points[v][j], coordinate, scores[v]);
                    }
                }
                for (int64_t v = 0; v < kVectors; v++) {
                    top[v] = larger(top[v], scores[v]);
                }
            }
            for (int64_t v = 0; v < kVectors; v++) {
                const unsigned near = reaches(top[v], subtract(highest[v], margins[v]));
                if (near == 0) {
                    continue;
                }
                const unsigned above = exceeds(top[v], add(highest[v], margins[v]));
                open[v] = (open[v] & ~near) | (near & ~above);
                for (unsigned bits = exceeds(top[v], highest[v]); bits != 0; bits &= bits - 1) {
                    group[v * kLanes + __builtin_ctz(bits)] = static_cast<int32_t>(g);
                }
                highest[v] = larger(highest[v], top[v]);
            }
        }
        for (int64_t v = 0; v < kVectors; v++) {
            store(best + v * kLanes, highest[v]);
        }
    }

    /// Returns whether float64 had to decide.
    bool resolve(const NarrowCentroids& centroids, int64_t i, int32_t& id, double& value) const {
        const bool l2 = centroids.l2;
        const float* x = plain[i];
        const float bar = best[i] - margin[i];
        id = -1;
        if (!(__builtin_fabsf(bar) <= 3.402823466e38f)) {
            return true;
        }
        const bool several = open[i / kLanes] >> (i % kLanes) & 1;
        const int64_t first = several ? 0 : group[i];
        const int64_t end = several ? centroids.group_count : first + 1;
        int measurements = 0;
        for (int64_t g = first; g < end; g++) {
            const float* at = centroids.groups + g * kGroup * (kColumns + 1);
            unsigned bits = reaching<kColumns>(at, &centred[0][i], kPoints, bar);
            for (; bits != 0; bits &= bits - 1) {
                const auto c = static_cast<int32_t>(g * kGroup + __builtin_ctz(bits));
                const double other = measured<kColumns>(x, centroids.plain + c * kColumns, l2);
                if (measurements++ == 0 || (l2 ? other < value : other > value)) {
                    id = c;
                    value = other;
                }
            }
        }
        return measurements > 1;
    }
};

template <int64_t kColumns>
int64_t assign_columns(
        const NarrowCentroids& centroids,
        const float* rows,
        int64_t stride,
        int64_t count,
        int32_t* ids,
        double* values) {
    Tile<kColumns> tile;
    int64_t decided = 0;
    for (int64_t first = 0; first < count; first += tile.kPoints) {
        const int64_t left = count - first;
        tile.load_rows(centroids, rows + first * stride, stride, left);
        tile.find_groups(centroids);
        for (int64_t i = 0; i < (left < tile.kPoints ? left : tile.kPoints); i++) {
            decided += tile.resolve(centroids, i, ids[first + i], values[first + i]);
        }
    }
    return decided;
}

int64_t assign(
        const NarrowCentroids& centroids,
        const float* rows,
        int64_t stride,
        int64_t count,
        int32_t* ids,
        double* values) {
    switch (centroids.columns) {
        case 4:
            return assign_columns<4>(centroids, rows, stride, count, ids, values);
        case 8:
            return assign_columns<8>(centroids, rows, stride, count, ids, values);
        default:
            return assign_columns<16>(centroids, rows, stride, count, ids, values);
    }
}

} // namespace

extern const NarrowKernel FAISS_FLASH_JOIN(narrow_, FAISS_FLASH_ISA);
const NarrowKernel FAISS_FLASH_JOIN(narrow_, FAISS_FLASH_ISA){
        FAISS_FLASH_TEXT(FAISS_FLASH_ISA), assign};

} // namespace faiss_flash::cpu
