/// Compiled once per instruction set with FAISS_FLASH_ISA naming it. Everything but the table at
/// the end is local to the file and no library template is used, so that the linker cannot mix
/// code of one instruction set into another's.
#include <faiss_flash/cpu/row_ops.h>

#include <faiss_flash/core/fixed_point.h>
#include <faiss_flash/core/objective.h>

#ifdef __AVX__
#include <immintrin.h>
#endif

#define FAISS_FLASH_TEXT_(name) #name
#define FAISS_FLASH_TEXT(name) FAISS_FLASH_TEXT_(name)
#define FAISS_FLASH_JOIN_(prefix, name) prefix##name
#define FAISS_FLASH_JOIN(prefix, name) FAISS_FLASH_JOIN_(prefix, name)

namespace faiss_flash::cpu {

namespace {

constexpr int64_t kLanes = 8;

template <class Value>
Value add_lanes(const Value* lane) {
    return ((lane[0] + lane[4]) + (lane[2] + lane[6])) +
           ((lane[1] + lane[5]) + (lane[3] + lane[7]));
}

/// Calls body(l, j) for j in [0, d), l = j modulo the lanes.
template <class Body>
void for_lanes(int64_t d, Body body) {
    int64_t j = 0;
    for (; j + kLanes <= d; j += kLanes) {
        for (int64_t l = 0; l < kLanes; l++) {
            body(l, j + l);
        }
    }
    for (int64_t l = 0; j + l < d; l++) {
        body(l, j + l);
    }
}

/// Sums term(j) for j in [0, d) in eight lanes.
template <class Term>
auto sum_in_lanes(int64_t d, Term term) {
    decltype(term(0)) lane[kLanes] = {};
    for_lanes(d, [&](int64_t l, int64_t j) { lane[l] += term(j); });
    return add_lanes(lane);
}

float center(const float* x, const float* middle, float scale, int64_t d, float* out) {
    return sum_in_lanes(d, [=](int64_t j) {
        const float value = (x[j] - middle[j]) * scale;
        out[j] = value;
        return value * value;
    });
}

float half_reach(const float* x, const float* middle, int64_t d) {
    float lane[kLanes] = {};
    for_lanes(d, [&](int64_t l, int64_t j) {
        const float value = __builtin_fabsf(x[j] / 2 - middle[j] / 2);
        lane[l] = value > lane[l] ? value : lane[l];
    });
    float most = 0;
    for (const float value : lane) {
        most = value > most ? value : most;
    }
    return most;
}

uint64_t hash(const float* x, int64_t d) {
    uint32_t lane[kLanes] = {};
    for_lanes(d, [&](int64_t l, int64_t j) {
        const float value = x[j] + 0.0f; // -0 equals 0
        uint32_t bits;
        __builtin_memcpy(&bits, &value, sizeof bits);
        lane[l] = (lane[l] ^ bits) * 0x9e3779b1u;
        lane[l] ^= lane[l] >> 15;
    });
    uint64_t all = 0;
    for (const uint32_t value : lane) {
        all = (all ^ value) * 0x9e3779b97f4a7c15u;
    }
    return all;
}

/// An exponent of all ones marks a NaN or an Inf.
bool all_finite(const float* x, int64_t d) {
    constexpr uint32_t kExponent = 0x7f800000;
    uint32_t bad = 0;
    for (int64_t j = 0; j < d; j++) {
        uint32_t bits;
        __builtin_memcpy(&bits, x + j, sizeof bits);
        bad |= (bits & kExponent) == kExponent;
    }
    return bad == 0;
}

/// Four sums beside each other: one would wait for its own additions.
float rough_distance(const float* a, const float* b, int64_t d) {
    constexpr int64_t kSums = 4;
    const auto term = [=](int64_t j) {
        const float difference = a[j] - b[j];
        return difference * difference;
    };
    float lane[kSums * kLanes] = {};
    int64_t j = 0;
    for (; j + kSums * kLanes <= d; j += kSums * kLanes) {
        for (int64_t l = 0; l < kSums * kLanes; l++) {
            lane[l] += term(j + l);
        }
    }
    for (int64_t l = 0; j + l < d; l++) {
        lane[l] += term(j + l);
    }
    for (int64_t l = 0; l < kLanes; l++) {
        lane[l] = (lane[l] + lane[2 * kLanes + l]) + (lane[kLanes + l] + lane[3 * kLanes + l]);
    }
    return add_lanes(lane);
}

// Four lanes, widened as they are read: one instruction, where the compiler finds three by itself.
using FourDoubles = double __attribute__((vector_size(32)));
#ifdef __AVX__
#define FAISS_FLASH_WIDE(from) FourDoubles(_mm256_cvtps_pd(_mm_loadu_ps(from)))
#else
using FourFloats = float __attribute__((vector_size(16), aligned(4), may_alias));
#define FAISS_FLASH_WIDE(from) \
    __builtin_convertvector(*reinterpret_cast<const FourFloats*>(from), FourDoubles)
#endif

double squared_distance(const float* a, const float* b, int64_t d) {
    FourDoubles sums[2] = {};
    int64_t j = 0;
    for (; j + kLanes <= d; j += kLanes) {
        const FourDoubles low = FAISS_FLASH_WIDE(a + j) - FAISS_FLASH_WIDE(b + j);
        const FourDoubles high = FAISS_FLASH_WIDE(a + j + 4) - FAISS_FLASH_WIDE(b + j + 4);
        sums[0] += low * low;
        sums[1] += high * high;
    }
    double lane[kLanes];
    __builtin_memcpy(lane, sums, sizeof lane);
    for (int64_t l = 0; j + l < d; l++) {
        const double difference = static_cast<double>(a[j + l]) - static_cast<double>(b[j + l]);
        lane[l] += difference * difference;
    }
    return add_lanes(lane);
}

double dot(const float* a, const float* b, int64_t d) {
    FourDoubles sums[2] = {};
    int64_t j = 0;
    for (; j + kLanes <= d; j += kLanes) {
        sums[0] += FAISS_FLASH_WIDE(a + j) * FAISS_FLASH_WIDE(b + j);
        sums[1] += FAISS_FLASH_WIDE(a + j + 4) * FAISS_FLASH_WIDE(b + j + 4);
    }
    double lane[kLanes];
    __builtin_memcpy(lane, sums, sizeof lane);
    for (int64_t l = 0; j + l < d; l++) {
        lane[l] += static_cast<double>(a[j + l]) * static_cast<double>(b[j + l]);
    }
    return add_lanes(lane);
}

void widen_range(
        const float* __restrict x,
        double weight,
        int64_t d,
        double* __restrict largest,
        double* __restrict smallest) {
    for (int64_t j = 0; j < d; j++) {
        const double value = __builtin_fabs(weight * static_cast<double>(x[j]));
        const double non_zero = value > 0 ? value : __builtin_inf();
        largest[j] = value > largest[j] ? value : largest[j];
        smallest[j] = non_zero < smallest[j] ? non_zero : smallest[j];
    }
}

int64_t bits_of(double value) {
    int64_t bits;
    __builtin_memcpy(&bits, &value, sizeof bits);
    return bits;
}

/// Adds term(j) to the sums. Limbs is known at compile time for the usual ones, 0 = format.limbs.
template <int Limbs, class Term>
void add_terms(
        const FixedPoint& format,
        const double* __restrict scale,
        int64_t d,
        int64_t* __restrict sums,
        int64_t stride,
        Term term) {
    constexpr double kMagic = FixedPoint::kRoundMagic;
    const int64_t magic_bits = bits_of(kMagic);
    const int limbs = Limbs > 0 ? Limbs : format.limbs;
    const double step = format.limb_step;
    for (int64_t j = 0; j < d; j++) {
        double rest = term(j) * scale[j];
        for (int limb = 0; limb < limbs; limb++) {
            const double shifted = rest + kMagic;
            sums[limb * stride + j] += bits_of(shifted) - magic_bits;
            rest = (rest - (shifted - kMagic)) * step;
        }
    }
}

template <class Term>
void add_terms(
        const FixedPoint& format,
        int64_t first_column,
        int64_t d,
        int64_t* sums,
        int64_t stride,
        Term term) {
    const double* scale = format.scale.data() + first_column;
    switch (format.limbs) {
        case 1:
            return add_terms<1>(format, scale, d, sums, stride, term);
        case 2:
            return add_terms<2>(format, scale, d, sums, stride, term);
        case 3:
            return add_terms<3>(format, scale, d, sums, stride, term);
        case 4:
            return add_terms<4>(format, scale, d, sums, stride, term);
        default:
            return add_terms<0>(format, scale, d, sums, stride, term);
    }
}

void accumulate(
        const float* x,
        double weight,
        const FixedPoint& format,
        int64_t first_column,
        int64_t d,
        int64_t* sums,
        int64_t stride) {
    add_terms(format, first_column, d, sums, stride, [=](int64_t j) {
        return weight * static_cast<double>(x[j]);
    });
}

void accumulate_squares(const float* x, const FixedPoint& format, int64_t d, int64_t* sums) {
    add_terms(format, 0, d, sums, d, [=](int64_t j) {
        return static_cast<double>(x[j]) * static_cast<double>(x[j]);
    });
}

// As many as fill a register: the order of additions is that of kColumnLanes lanes for any number.
#ifdef __AVX512F__
constexpr int64_t kWide = 8;
#else
constexpr int64_t kWide = 4;
#endif
using WideDoubles = double __attribute__((vector_size(kWide * 8)));
using WideIntegers = int64_t __attribute__((vector_size(kWide * 8)));
using WideFloats = float __attribute__((vector_size(kWide * 4)));

/// The first `count` elements of a vector, the others 0. (Set one by one they go through memory.)
template <class Wide, class Value>
Wide first_of(const Value* from, int64_t count) {
    Wide wide = {};
    if (count == kWide) {
        __builtin_memcpy(&wide, from, sizeof wide);
    } else {
        __builtin_memcpy(&wide, from, static_cast<size_t>(count) * sizeof *from);
    }
    return wide;
}

/// Without error: halves of 32 bits become the last bits of doubles.
Pair<WideDoubles> of_integers(WideIntegers integers) {
    constexpr int64_t kHalf = 0xffffffff;
    const WideIntegers lower = (integers & kHalf) | bits_of(0x1p52);
    const WideIntegers upper = ((integers >> 32 & kHalf) ^ 0x80000000) | bits_of(0x1p52);
    const WideDoubles high = (WideDoubles(upper) - (0x1p52 + 0x1p31)) * 0x1p32;
    return sum_of_ordered(high, WideDoubles(WideDoubles(lower) - 0x1p52));
}

/// Columns that are missing at the end add 0.
DoubleDouble finish(
        bool l2,
        const float* centroid,
        double weight,
        const FixedPoint& format,
        int64_t d,
        const int64_t* sums,
        int64_t stride,
        float* mean,
        double* values) {
    constexpr int64_t kVectors = kColumnLanes / kWide;
    const double inverse = weight == 0 ? 0 : 1 / weight; // GPUs take long to divide
    const double limb_unit = 1 / format.limb_step;
    const double* scale = format.scale.data();
    Pair<WideDoubles> totals[kVectors] = {};
    for (int64_t first = 0; first < d; first += kWide) {
        const int64_t count = d - first < kWide ? d - first : kWide;
        // Of powers of two, whose reciprocals have their exponents' negatives; finite for those
        // that are missing.
        const auto scales = first_of<WideIntegers>(scale + first, count);
        const auto units = WideDoubles(bits_of(0x1p1023) - scales);
        const auto part = [&](int limb) {
            return of_integers(first_of<WideIntegers>(sums + limb * stride + first, count));
        };
        Pair<WideDoubles> sum = part(format.limbs - 1);
        WideDoubles rounded = sum.high; // as FixedPoint::value()
        for (int limb = format.limbs - 2; limb >= 0; limb--) {
            const Pair<WideDoubles> next = part(limb);
            rounded = rounded * limb_unit + next.high;
            sum = add(scaled(sum, limb_unit), next);
        }
        const WideDoubles value = rounded * units;
        const auto means = __builtin_convertvector(value * inverse, WideFloats);
        if (values) {
            __builtin_memcpy(values + first, &value, static_cast<size_t>(count) * sizeof *values);
        } else if (count == kWide) {
            __builtin_memcpy(mean + first, &means, sizeof means);
        } else {
            __builtin_memcpy(mean + first, &means, static_cast<size_t>(count) * sizeof *mean);
        }
        if (centroid) {
            const auto columns = first_of<WideFloats>(centroid + first, count);
            const auto wide = __builtin_convertvector(columns, WideDoubles);
            Pair<WideDoubles>& total = totals[first / kWide % kVectors];
            const WideDoubles sizes = WideDoubles{} + weight;
            total = add(total, gain_of(l2, wide, sizes, scaled(sum, units)));
        }
    }
    if (!centroid) {
        return {};
    }
    DoubleDouble lanes[kColumnLanes];
    for (int64_t v = 0; v < kVectors; v++) {
        double high[kWide];
        double low[kWide];
        __builtin_memcpy(high, &totals[v].high, sizeof high);
        __builtin_memcpy(low, &totals[v].low, sizeof low);
        for (int64_t l = 0; l < kWide; l++) {
            lanes[kWide * v + l] = {high[l], low[l]};
        }
    }
    return fold(lanes, d < kColumnLanes ? d : kColumnLanes);
}

} // namespace

extern const RowOps FAISS_FLASH_JOIN(row_ops_, FAISS_FLASH_ISA);
const RowOps FAISS_FLASH_JOIN(row_ops_, FAISS_FLASH_ISA){
        FAISS_FLASH_TEXT(FAISS_FLASH_ISA),
        center,
        half_reach,
        hash,
        all_finite,
        rough_distance,
        squared_distance,
        dot,
        widen_range,
        accumulate,
        accumulate_squares,
        finish,
};

} // namespace faiss_flash::cpu
