/// Compiled once per instruction set with FAISS_FLASH_ISA naming it, as row_ops.cpp is.
///
/// 1. Points are the lanes. A tile of them goes over the centroids in groups of 16, whose highest
///    score alone is kept: one FMA a coordinate and one maximum a centroid.
/// 2. Each point remembers the groups that may hold its nearest centroid, mostly one.
/// 3. These are gone over once more for each point, with centroids as lanes, by what float32 is
///    better at: the sum of squared differences, exact to its last bits wherever the data lies.
///    Where one is the least it is the nearest; of several, float64 decides.
/// Budget a coordinate of step 1: AVX-512, 24 FMAs against 3 loads of points and 8 of centroids;
/// AVX2, 8 against 2 and 4. Those of points must stay loads of their own: compilers like to make
/// them operands of each FMA, which then wait for memory.
#include <faiss_flash/cpu/narrow.h>

#include <faiss_flash/cpu/simd.h>

namespace faiss_flash::cpu {

namespace {

constexpr int64_t kGroup = NarrowCentroids::kGroup;
constexpr int64_t kBits = 32;
constexpr float kInfinity = __builtin_inff();
constexpr float kNaN = __builtin_nanf("");

/// A row's first four columns, of which there may be fewer.
template <int64_t Columns>
__m128 load_few(const float* x) {
    if constexpr (Columns == 2) {
        return _mm_castsi128_ps(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(x)));
    } else if constexpr (Columns == 3) {
        return _mm_maskload_ps(x, _mm_setr_epi32(-1, -1, -1, 0));
    } else {
        return _mm_loadu_ps(x);
    }
}

inline __m256d term(__m128 a, __m128 b, bool l2) {
    const __m256d a64 = _mm256_cvtps_pd(a);
    const __m256d b64 = _mm256_cvtps_pd(b);
    const __m256d difference = _mm256_sub_pd(a64, b64);
    return l2 ? _mm256_mul_pd(difference, difference) : _mm256_mul_pd(a64, b64);
}

/// Squared distance or product, in row_ops.h's order of summation.
template <int64_t Columns>
double measured(const float* x, const float* c, int64_t d, bool l2) {
    static constexpr int32_t kFirst[16] = {-1, -1, -1, -1, -1, -1, -1, -1};
    __m256d low = _mm256_setzero_pd(); // lanes 0 to 3
    if constexpr (Columns > 0 && Columns <= 4) {
        low = _mm256_add_pd(low, term(load_few<Columns>(x), load_few<Columns>(c), l2));
    } else {
        __m256d high = low;
        for (int64_t j = 0; j < d; j += 8) {
            const int64_t left = d - j < 8 ? d - j : 8;
            const auto mask =
                    _mm256_loadu_si256(reinterpret_cast<const __m256i*>(kFirst + 8 - left));
            const __m256 a = _mm256_maskload_ps(x + j, mask);
            const __m256 b = _mm256_maskload_ps(c + j, mask);
            low = _mm256_add_pd(
                    low, term(_mm256_castps256_ps128(a), _mm256_castps256_ps128(b), l2));
            high = _mm256_add_pd(
                    high, term(_mm256_extractf128_ps(a, 1), _mm256_extractf128_ps(b, 1), l2));
        }
        low = _mm256_add_pd(low, high);
    }
    const __m128d two = _mm_add_pd(_mm256_castpd256_pd128(low), _mm256_extractf128_pd(low, 1));
    return _mm_cvtsd_f64(_mm_add_sd(two, _mm_unpackhi_pd(two, two)));
}

/// Points of one tile, with what is known of them. Columns is known at compile time where a row is
/// so short that it pays, else 0.
template <int64_t Columns>
class Tile {
   public:
    static constexpr int64_t kVectors = kLanes == 16 ? 3 : 2; // of points
    static constexpr int64_t kPoints = kVectors * kLanes;
    static constexpr int64_t kAtOnce = kLanes / 2; // centroids

    Tile(const NarrowCentroids& centroids, const float* rows, int64_t stride, int64_t count)
        : centroids_(centroids),
          d_(Columns > 0 ? Columns : centroids.d),
          one_group_(centroids.l2 && centroids.group_count == 1),
          rows_(rows),
          stride_(stride) {
        if (one_group_) {
            return;
        }
        while (centroids.group_count > kBits << bit_shift_) {
            bit_shift_++;
        }
        for (int64_t v = 0; v < kPoints; v += kLanes) {
            store(groups_ + v, all(-1));
            store(first_ + v, all(0));
            store(last_ + v, all(static_cast<int32_t>(centroids.group_count - 1)));
        }
        load_rows(count);
        find_groups();
    }

    /// Returns whether float64 had to decide.
    bool resolve(int64_t i, int32_t& id, double& value) const {
        Best best;
        if (one_group_) {
            search_distances(i, 0, best);
        } else {
            for (int64_t g = first_[i]; g <= last_[i]; g++) {
                if (groups_[i] >> (g >> bit_shift_) & 1) {
                    centroids_.l2 ? search_distances(i, g, best) : search_scores(i, g, best);
                }
            }
        }
        id = best.id;
        value = best.value;
        return best.measured != 1;
    }

   private:
    struct Best {
        int32_t id = -1;
        int32_t measured = 0;
        double value = 0;
        float limit = kInfinity; // a float32 distance above is not the least
    };

    int64_t d() const { return Columns > 0 ? Columns : d_; }

    /// Rows from `count` on are copies of the last one.
    void load_rows(int64_t count) {
        for (int64_t i = 0; i < kPoints; i++) {
            const float* row = rows_ + (i < count ? i : count - 1) * stride_;
            for (int64_t j = 0; j < d(); j++) {
                centred_[j][i] = row[j];
            }
        }
        for (int64_t v = 0; v < kPoints; v += kLanes) {
            Vector square = all(0.0f);
            for (int64_t j = 0; j < d(); j++) {
                const Vector moved = subtract(load(centred_[j] + v), all(centroids_.origin[j]));
                const Vector value = multiply(moved, all(centroids_.scale));
                store(centred_[j] + v, value);
                square = multiply_add(value, value, square);
            }
            // A bound: a sum of float32 squares, some of which may have vanished.
            const Vector length = multiply_add(root(square), all(1 + 0x1p-16f), all(0x1p-60f));
            // Where it is too long, or a NaN, no score reaches the bar or passes the ceiling, and
            // all groups are gone over.
            const Mask known = exceeds(all(centroids_.longest), length);
            store(length_ + v, length);
            store(common_ + v, multiply(multiply(length, length), all(2 * centroids_.common)));
            store(bar_ + v, choose(known, all(-kInfinity), all(kNaN)));
            store(ceiling_ + v, choose(known, all(-kInfinity), all(kInfinity)));
            store(groups_ + v, choose(known, all(0), all(-1)));
        }
    }

    void find_groups() {
        const float* at = centroids_.scored;
        for (int64_t g = 0; g < centroids_.group_count; g++, at += kGroup * (1 + d())) {
            Vector top[kVectors];
            for (Vector& value : top) {
                value = all(-kInfinity);
            }
            for (int64_t c = 0; c < kGroup; c += kAtOnce) {
                raise_tops(at + c, top);
            }
            for (int64_t v = 0; v < kVectors; v++) {
                remember(g, v * kLanes, top[v]);
            }
        }
    }

    /// The highest scores, of the centroids from `at` on too.
    void raise_tops(const float* at, Vector* top) const {
        Vector scores[kAtOnce][kVectors];
        for (int64_t c = 0; c < kAtOnce; c++) {
            for (int64_t v = 0; v < kVectors; v++) {
                scores[c][v] = all(at[c]);
            }
        }
        for (int64_t j = 0; j < d(); j++) {
            at += kGroup;
            Vector x[kVectors];
            for (int64_t v = 0; v < kVectors; v++) {
                x[v] = load(centred_[j] + v * kLanes);
                asm volatile("" : "+v"(x[v])); // in a register, read once
            }
            for (int64_t c = 0; c < kAtOnce; c++) {
                const Vector coordinate = all(at[c]);
                for (int64_t v = 0; v < kVectors; v++) {
                    scores[c][v] = multiply_add(x[v], coordinate, scores[c][v]);
                }
            }
        }
        for (const auto& score : scores) {
            for (int64_t v = 0; v < kVectors; v++) {
                top[v] = larger(top[v], score[v]);
            }
        }
    }

    /// Takes group g into account for the points of a vector, whose highest scores there are `top`.
    void remember(int64_t g, int64_t at, Vector top) {
        const Vector length = load(length_ + at);
        const Vector error = multiply_add(
                length, all(centroids_.errors[2 * g + 1]), all(centroids_.errors[2 * g]));
        const Vector most = add(top, error);
        const Vector bar = load(bar_ + at);
        const Mask near = reaches(most, bar);
        if (bits(near) == 0) {
            return;
        }
        const Vector sure = subtract(subtract(top, error), load(common_ + at));
        const Vector ceiling = load(ceiling_ + at);
        const Mask alone = exceeds(sure, ceiling); // no group before comes near
        store(bar_ + at, larger(sure, bar));       // a NaN stays one
        store(ceiling_ + at, larger(most, ceiling));
        const Integers number = all(static_cast<int32_t>(g));
        const Integers bit = all(static_cast<int32_t>(1u << (g >> bit_shift_)));
        const Integers before = load(groups_ + at);
        const Integers kept = choose(alone, all(0), before);
        store(groups_ + at, choose(near, either(kept, bit), before));
        store(first_ + at, choose(alone, number, load(first_ + at)));
        store(last_ + at, choose(near, number, load(last_ + at)));
    }

    /// The float32 sum of d squared differences is off by less than 2^-18 of itself, and by 2^-120
    /// where terms vanish.
    void search_distances(int64_t i, int64_t g, Best& best) const {
        const float* x = rows_ + i * stride_;
        Vector distance[kGroup / kLanes];
        Vector least = all(kInfinity);
        for (int64_t v = 0; v < kGroup / kLanes; v++) {
            const float* at = centroids_.plain + g * d() * kGroup + v * kLanes;
            distance[v] = all(0.0f);
            for (int64_t j = 0; j < d(); j++, at += kGroup) {
                const Vector difference = subtract(load(at), all(x[j]));
                distance[v] = multiply_add(difference, difference, distance[v]);
            }
            least = smaller(distance[v], least);
        }
        const float limit = lowest(least) * (1 + 0x1p-16f) + 0x1p-118f;
        best.limit = limit < best.limit ? limit : best.limit;
        unsigned lanes = 0;
        for (int64_t v = 0; v < kGroup / kLanes; v++) {
            lanes |= bits(reaches(all(best.limit), distance[v])) << (v * kLanes);
        }
        measure_lanes(i, g, lanes, best);
    }

    void search_scores(int64_t i, int64_t g, Best& best) const {
        const float* errors = centroids_.errors + 2 * g;
        const Vector bar = all(bar_[i] - (errors[0] + errors[1] * length_[i]));
        unsigned lanes = 0;
        for (int64_t v = 0; v < kGroup / kLanes; v++) {
            const float* at = centroids_.scored + g * (1 + d()) * kGroup + v * kLanes;
            Vector score = load(at);
            for (int64_t j = 0; j < d(); j++) {
                at += kGroup;
                score = multiply_add(all(centred_[j][i]), load(at), score);
            }
            lanes |= bits(reaches(score, bar)) << (v * kLanes);
        }
        measure_lanes(i, g, lanes, best);
    }

    void measure_lanes(int64_t i, int64_t g, unsigned lanes, Best& best) const {
        const bool l2 = centroids_.l2;
        for (; lanes != 0; lanes &= lanes - 1) {
            const int32_t place = centroids_.places[g * kGroup + __builtin_ctz(lanes)];
            const int32_t id = centroids_.ids[place];
            const float* centroid = centroids_.centroids + id * d();
            const double value = measured<Columns>(rows_ + i * stride_, centroid, d(), l2);
            const bool better = l2 ? value < best.value : value > best.value;
            if (best.measured++ == 0 || better || (value == best.value && id < best.id)) {
                best.id = id;
                best.value = value;
            }
        }
    }

    alignas(64) float centred_[NarrowCentroids::kMostColumns][kPoints];
    alignas(64) float length_[kPoints];  // bounds of |x'|
    alignas(64) float common_[kPoints];  // twice the error that all scores share
    alignas(64) float bar_[kPoints];     // the most that is sure of any score
    alignas(64) float ceiling_[kPoints]; // the most that any score may be
    // Groups that may hold the nearest: those from the first to the last whose bits are set.
    alignas(64) int32_t groups_[kPoints];
    alignas(64) int32_t first_[kPoints];
    alignas(64) int32_t last_[kPoints];
    int bit_shift_ = 0; // as many groups share a bit
    const NarrowCentroids& centroids_;
    const int64_t d_;
    const bool one_group_; // gone over for every point without a look at scores
    const float* const rows_;
    const int64_t stride_;
};

template <int64_t Columns>
int64_t assign_columns(
        const NarrowCentroids& centroids,
        const float* rows,
        int64_t stride,
        int64_t count,
        int32_t* ids,
        double* values) {
    int64_t decided = 0;
    constexpr int64_t kPoints = Tile<Columns>::kPoints;
    for (int64_t first = 0; first < count; first += kPoints) {
        const int64_t left = count - first;
        const Tile<Columns> tile(centroids, rows + first * stride, stride, left);
        for (int64_t i = 0; i < (left < kPoints ? left : kPoints); i++) {
            decided += tile.resolve(i, ids[first + i], values[first + i]);
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
    switch (centroids.d) {
        case 2:
            return assign_columns<2>(centroids, rows, stride, count, ids, values);
        case 3:
            return assign_columns<3>(centroids, rows, stride, count, ids, values);
        case 4:
            return assign_columns<4>(centroids, rows, stride, count, ids, values);
        case 8:
            return assign_columns<8>(centroids, rows, stride, count, ids, values);
        case 16:
            return assign_columns<16>(centroids, rows, stride, count, ids, values);
        default:
            return assign_columns<0>(centroids, rows, stride, count, ids, values);
    }
}

} // namespace

extern const NarrowKernel FAISS_FLASH_JOIN(narrow_, FAISS_FLASH_ISA);
const NarrowKernel FAISS_FLASH_JOIN(narrow_, FAISS_FLASH_ISA){
        FAISS_FLASH_TEXT(FAISS_FLASH_ISA), assign};

} // namespace faiss_flash::cpu
