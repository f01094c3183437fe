/// Compiled once per instruction set with FAISS_FLASH_ISA naming it. Everything but the table at
/// the end is local to the file and no library template is used, so that the linker cannot mix
/// code of one instruction set into another's.
#include <faiss_flash/cpu/row_ops.h>

#include <faiss_flash/core/fixed_point.h>

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

/// Limbs is known at compile time for the usual one and two, 0 = format.limbs.
template <int Limbs>
void accumulate_limbs(
        const float* __restrict x,
        double weight,
        const FixedPoint& format,
        const double* __restrict scale,
        int64_t d,
        int64_t* __restrict sums,
        int64_t stride) {
    constexpr double kMagic = FixedPoint::kRoundMagic;
    const int64_t magic_bits = bits_of(kMagic);
    const int limbs = Limbs > 0 ? Limbs : format.limbs;
    const double step = format.limb_step;
    for (int64_t j = 0; j < d; j++) {
        double rest = weight * static_cast<double>(x[j]) * scale[j];
        for (int limb = 0; limb < limbs; limb++) {
            const double shifted = rest + kMagic;
            sums[limb * stride + j] += bits_of(shifted) - magic_bits;
            rest = (rest - (shifted - kMagic)) * step;
        }
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
    const double* scale = format.scale.data() + first_column;
    switch (format.limbs) {
        case 1:
            return accumulate_limbs<1>(x, weight, format, scale, d, sums, stride);
        case 2:
            return accumulate_limbs<2>(x, weight, format, scale, d, sums, stride);
        default:
            return accumulate_limbs<0>(x, weight, format, scale, d, sums, stride);
    }
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
};

} // namespace faiss_flash::cpu
