/// The exact nearest centroid of every point: f16 scores, a certificate, and float64 for
/// the few centroids that these leave to a point.
///
/// With x' = (x - m) s and c' = (c - m) t for powers of two s and t, and their f16 roundings X, C,
/// the score x'.c' + b (b: -|c'|^2 s / 2 t, or m.c' s for products) as the tensor cores find it is
/// off by at most
///   |X| |c' - C| + |x' - X| |c'|                    (Cauchy-Schwarz on x'.c' - X.C)
///   + g (|X| |C| + |b|), g = (d / 16 + 4) 20 2^-24
/// g: for every 16 columns the 16 products and the sum so far, none of which passes |X| |C| + |b|,
/// are cut to a common exponent, each by at most 2^-24 of the largest, and their sum is cut to
/// float32; the constant holds all of that and the additions of the epilogues.
///
/// For a point with |X| <= R and |x' - X| <= r (a reference that most points stay below) this is at
/// most e(c) = R |c' - C| + r |c'| + g (R |C| + |b|), which depends on the centroid alone. b + e(c)
/// is the bias that the kernels are given: scores are then upper bounds. If the best of them, of
/// centroid a, beats the second by more than 2 e(a), a's score is truly above all others, and a is
/// the nearest centroid. A point f times as long as the reference needs (f + 1) e(a) instead, and
/// besides, where f > 1, (f - 1) max e, which its bounds may lack, or where f < 1, as |b| does not
/// shrink with it, (1 - f) g max |b|. Where the kernels fold biases (d <= 32, l2) they stay as
/// they are, the largest |c' - C|, |c'|, |C| and |b| stand for all, and a row's reach is part of
/// the sums as well.
///
/// Float64 itself is off by (d + 8) 2^-53 of |x - c|^2 / 2 or |x| |c|; twice that comes on top, so
/// that a certified centroid is the one that float64 over all centroids finds.
///
/// What a's score is above is the point's bar: a centroid whose score, in any order of summation,
/// does not reach it is not the nearest. Points that are not certified go through the same products
/// once more, which list their candidates, two as a rule, and float64 decides between them
/// (candidates.h); for lists that overflow it decides between all centroids that float32 leaves
/// (decide.h): the CPU backend's ids, ties to the lowest.
#pragma once

#include <faiss_flash/cuda/assign/assign.h>
#include <faiss_flash/cuda/assign/duplicates.h>
#include <faiss_flash/cuda/assigner.h>
#include <faiss_flash/cuda/exact/candidates.h>
#include <faiss_flash/cuda/exact/decide.h>
#include <faiss_flash/cuda/exact/points.h>
#include <faiss_flash/cuda/runtime/arena.h>
#include <faiss_flash/kmeans.h>

#include <cstdint>
#include <optional>

namespace faiss_flash::cuda {

/// What to expect after an assignment that left `redone` rows open: they grow fewer, as a rule.
constexpr int64_t expected_after(int64_t redone) {
    return redone + redone / 16 + 1;
}

/// Numbers of points of one assignment, on the device.
struct FoundCounts {
    int32_t open;  ///< after the first pass
    int32_t moved; ///< after the filter pass: RestRows
    int32_t decided;
};

/// Memory of assign_exact() for up to n points and k centroids. Steps that follow each other share
/// some.
struct ExactWorkspace {
    ExactWorkspace(int64_t n, int64_t d, int64_t k, Metric metric, Arena& arena);

    TensorCentroids table; ///< has k and the metric
    CentroidBounds* bounds;
    float* bias;        ///< [k] as Centring's
    float* errors;      ///< [k] as Centring's
    FoundCounts* found; ///< one
    DuplicateTable duplicates;
    // With the memory of the duplicates:
    int32_t* open_rows; ///< [n]
    float* best;        ///< [n]
    float* second;      ///< [n]
    AssignWorkspace first_pass;
    CandidateWorkspace candidates; ///< with the memory of `second` and the first pass
    RestWorkspace rest;            ///< with the memory of `best` and all after it
};

/// Passes over listed rows that assign_exact() queues where `expected` of n points are expected to
/// be open: the only thing that depends on it.
int64_t listing_passes(const ExactWorkspace& workspace, int64_t n, int64_t expected);

/// centroids [k x d] float32, packed, finite, with k and the metric of the workspace. All arrays in
/// device memory.
/// expected: about how many points the first pass leaves open. Where it leaves more, those go the
/// longest way; the result is the same. Without it this waits for the first pass.
void assign_exact(
        const DevicePoints& points,
        const float* centroids,
        ExactWorkspace& workspace,
        const AssignmentArrays& output,
        std::optional<int64_t> expected,
        cudaStream_t stream);

} // namespace faiss_flash::cuda
