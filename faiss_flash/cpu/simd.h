/// Vectors of float32 for the kernels that are compiled once per instruction set: AVX-512 where the
/// compiler may use it, else AVX2. All of it is local to the file that includes it, so that the
/// linker cannot mix code of one instruction set into another's.
#pragma once

#include <immintrin.h>

#include <cstdint>

#define FAISS_FLASH_JOIN_(prefix, name) prefix##name
#define FAISS_FLASH_JOIN(prefix, name) FAISS_FLASH_JOIN_(prefix, name)
#define FAISS_FLASH_TEXT_(name) #name
#define FAISS_FLASH_TEXT(name) FAISS_FLASH_TEXT_(name)

namespace faiss_flash::cpu {

namespace {

// Addresses of load() and store() are multiples of a vector's size, those of load_any() are not.
// reaches() and exceeds() are false for a NaN.
#ifdef __AVX512F__
constexpr int64_t kLanes = 16;
using Vector = __m512;
using Integers = __m512i;
using Mask = __mmask16;
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
inline Vector larger(Vector a, Vector b) { // b where one is a NaN
    return _mm512_max_ps(a, b);
}
inline Vector smaller(Vector a, Vector b) { // b where one is a NaN
    return _mm512_min_ps(a, b);
}
inline float highest(Vector a) {
    return _mm512_reduce_max_ps(a);
}
inline float lowest(Vector a) {
    return _mm512_reduce_min_ps(a);
}
inline Mask reaches(Vector a, Vector b) {
    return _mm512_cmp_ps_mask(a, b, _CMP_GE_OQ);
}
inline Mask exceeds(Vector a, Vector b) {
    return _mm512_cmp_ps_mask(a, b, _CMP_GT_OQ);
}
inline unsigned bits(Mask a) {
    return a;
}
inline Vector choose(Mask which, Vector a, Vector b) {
    return _mm512_mask_mov_ps(b, which, a);
}
inline Integers choose(Mask which, Integers a, Integers b) {
    return _mm512_mask_mov_epi32(b, which, a);
}
inline Integers load(const int32_t* from) {
    return _mm512_load_si512(from);
}
inline void store(int32_t* to, Integers a) {
    _mm512_store_si512(to, a);
}
inline Integers all(int32_t value) {
    return _mm512_set1_epi32(value);
}
inline Integers either(Integers a, Integers b) {
    return _mm512_or_si512(a, b);
}
inline Vector to_floats(Integers a) {
    return _mm512_cvtepi32_ps(a);
}
inline Integers rounded(Vector a) {
    return _mm512_cvtps_epi32(a);
}
inline Integers add(Integers a, Integers b) {
    return _mm512_add_epi32(a, b);
}
inline void store_low_bytes(uint8_t* to, Integers a) {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(to), _mm512_cvtepi32_epi8(a));
}
inline Vector load_any(const float* from) {
    return _mm512_loadu_ps(from);
}
inline Vector magnitude(Vector a) {
    return _mm512_abs_ps(a);
}
inline float sum(Vector a) {
    return _mm512_reduce_add_ps(a);
}
#else
constexpr int64_t kLanes = 8;
using Vector = __m256;
using Integers = __m256i;
using Mask = __m256;
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
inline Vector larger(Vector a, Vector b) { // b where one is a NaN
    return _mm256_max_ps(a, b);
}
inline Vector smaller(Vector a, Vector b) { // b where one is a NaN
    return _mm256_min_ps(a, b);
}
inline float highest(Vector a) {
    const __m128 four = _mm_max_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    const __m128 two = _mm_max_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_max_ss(two, _mm_movehdup_ps(two)));
}
inline float lowest(Vector a) {
    const __m128 four = _mm_min_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    const __m128 two = _mm_min_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_min_ss(two, _mm_movehdup_ps(two)));
}
inline Mask reaches(Vector a, Vector b) {
    return _mm256_cmp_ps(a, b, _CMP_GE_OQ);
}
inline Mask exceeds(Vector a, Vector b) {
    return _mm256_cmp_ps(a, b, _CMP_GT_OQ);
}
inline unsigned bits(Mask a) {
    return static_cast<unsigned>(_mm256_movemask_ps(a));
}
inline Vector choose(Mask which, Vector a, Vector b) {
    return _mm256_blendv_ps(b, a, which);
}
inline Integers choose(Mask which, Integers a, Integers b) {
    return _mm256_blendv_epi8(b, a, _mm256_castps_si256(which));
}
inline Integers load(const int32_t* from) {
    return _mm256_load_si256(reinterpret_cast<const __m256i*>(from));
}
inline void store(int32_t* to, Integers a) {
    _mm256_store_si256(reinterpret_cast<__m256i*>(to), a);
}
inline Integers all(int32_t value) {
    return _mm256_set1_epi32(value);
}
inline Integers either(Integers a, Integers b) {
    return _mm256_or_si256(a, b);
}
inline Vector to_floats(Integers a) {
    return _mm256_cvtepi32_ps(a);
}
inline Integers rounded(Vector a) {
    return _mm256_cvtps_epi32(a);
}
inline Integers add(Integers a, Integers b) {
    return _mm256_add_epi32(a, b);
}
inline void store_low_bytes(uint8_t* to, Integers a) {
    const __m256i low = _mm256_set1_epi32(0x0c080400);
    const __m256i bytes = _mm256_shuffle_epi8(a, low);
    const __m128i both =
            _mm_unpacklo_epi32(_mm256_castsi256_si128(bytes), _mm256_extracti128_si256(bytes, 1));
    _mm_storel_epi64(reinterpret_cast<__m128i*>(to), both);
}
inline Vector load_any(const float* from) {
    return _mm256_loadu_ps(from);
}
inline Vector magnitude(Vector a) {
    return _mm256_andnot_ps(_mm256_set1_ps(-0.0f), a);
}
inline float sum(Vector a) {
    const __m128 four = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
}
#endif

template <int64_t Value>
struct Constant {
    static constexpr int64_t kValue = Value;
};

/// Calls body(first, Constant<vectors>) for panels of `Most` vectors side by side of k centroids;
/// the last one has as many vectors as are left.
template <int64_t Most, class Body>
inline void for_panels(int64_t k, const Body& body) {
    static_assert(Most <= 4);
    for (int64_t first = 0; first < k; first += Most * kLanes) {
        const int64_t left = (k - first + kLanes - 1) / kLanes;
        switch (left < Most ? left : Most) {
            case 1:
                body(first, Constant<1>());
                break;
            case 2:
                body(first, Constant<2>());
                break;
            case 3:
                body(first, Constant<3>());
                break;
            default:
                body(first, Constant<Most>());
        }
    }
}

} // namespace

} // namespace faiss_flash::cpu
