/// Numbers of two doubles, good to 2^-104 of themselves: T. J. Dekker, "A floating-point technique
/// for extending the available precision", 1971. Every step is one rounded operation, so that host
/// and device have the same bits, where the compiler contracts nothing into an FMA.
///
/// Functions are local to each source: those of one instruction set must not end up in another's.
#pragma once

#include <cstdint>

#ifdef __CUDACC__
#define FAISS_FLASH_HOST_DEVICE __host__ __device__
#else
#define FAISS_FLASH_HOST_DEVICE
#endif

namespace faiss_flash {

/// Of double, or of a vector of doubles that has their operators.
template <class Real>
struct Pair {
    Real high;
    Real low; ///< what rounding to high left of the sum
};
using DoubleDouble = Pair<double>;

namespace {

/// a + b without error, where |a| >= |b| or a is 0.
template <class Real>
FAISS_FLASH_HOST_DEVICE inline Pair<Real> sum_of_ordered(Real a, Real b) {
    const Real sum = a + b;
    return {sum, b - (sum - a)};
}

/// a + b without error.
template <class Real>
FAISS_FLASH_HOST_DEVICE inline Pair<Real> sum_of(Real a, Real b) {
    const Real sum = a + b;
    const Real rest = sum - a;
    return {sum, (a - (sum - rest)) + (b - rest)};
}

/// a b without error, of a b that a float32 holds: by an FMA, or by halves of a of 26 bits.
template <class Real>
FAISS_FLASH_HOST_DEVICE inline Pair<Real> product_of(Real a, Real b) {
#ifdef __CUDA_ARCH__
    const double product = a * b;
    return {product, __fma_rn(a, b, -product)};
#else
    const Real spread = a * (0x1p27 + 1);
    const Real upper = spread - (spread - a);
    return sum_of_ordered(Real(upper * b), Real((a - upper) * b));
#endif
}

/// The same bits for b + a.
template <class Real>
FAISS_FLASH_HOST_DEVICE inline Pair<Real> add(Pair<Real> a, Pair<Real> b) {
    const Pair<Real> high = sum_of(a.high, b.high);
    const Pair<Real> low = sum_of(a.low, b.low);
    const Pair<Real> sum = sum_of_ordered(high.high, Real(high.low + low.high));
    return sum_of_ordered(sum.high, Real(sum.low + low.low));
}

/// By a b that a float32 holds.
template <class Real>
FAISS_FLASH_HOST_DEVICE inline Pair<Real> multiply(Pair<Real> a, Real b) {
    const Pair<Real> high = product_of(a.high, b);
    return sum_of_ordered(high.high, Real(high.low + a.low * b));
}

/// By a power of two.
template <class Real, class Power>
FAISS_FLASH_HOST_DEVICE inline Pair<Real> scaled(Pair<Real> a, Power power) {
    return {a.high * power, a.low * power};
}

/// Without error.
FAISS_FLASH_HOST_DEVICE inline DoubleDouble of_integer(int64_t value) {
    const auto upper = static_cast<int32_t>(value >> 32);
    const auto lower = static_cast<uint32_t>(value);
    return sum_of_ordered(static_cast<double>(upper) * 0x1p32, static_cast<double>(lower));
}

} // namespace

} // namespace faiss_flash
