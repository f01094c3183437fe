/// The centroids that may still be a row's nearest, while their scores stream by.
#pragma once

#include <cstdint>

namespace faiss_flash::cpu {

class CentroidCell;

/// The best of the centroids that were measured so far.
struct Nearest {
    int32_t id = -1;
    int32_t measured = 0;             // in float64
    bool contested = false;           // by one that only float64 could tell from it
    double value = __builtin_nan(""); // squared distance or product
};

/// Kernels compute upper bounds of scores, errors included. `bar` is the most that is sure of any
/// score so far: a centroid that stays below cannot win. Used by the kernels, which are compiled
/// for several instruction sets: nothing that a library's template takes part in.
struct Candidates {
    static constexpr int kCapacity = 30;

    float bar;
    float common; // twice the part of the error that is the same for all centroids
    int32_t count;
    float bounds[kCapacity];
    int32_t places[kCapacity]; // in the cell

    const CentroidCell* cell;
    const float* row; // as it was given
    int64_t settled;  // entries that left the list to be measured
    Nearest nearest;
};

/// Measures the candidates and empties the list.
void settle(Candidates& list);

/// `sure`: the best score of those that are about to be offered is not lower.
static inline void raise(Candidates& list, float sure) {
    const float bar = sure - list.common;
    list.bar = bar > list.bar ? bar : list.bar;
}

/// Drops what the bar has left behind.
static inline void prune(Candidates& list) {
    int32_t kept = 0;
    for (int32_t i = 0; i < list.count; i++) {
        if (list.bounds[i] >= list.bar) {
            list.bounds[kept] = list.bounds[i];
            list.places[kept] = list.places[i];
            kept++;
        }
    }
    list.count = kept;
}

/// Takes the upper bound of a score. A list full of candidates is settled at once.
static inline void offer(Candidates& list, float bound, int32_t place) {
    if (!(bound >= list.bar)) {
        return;
    }
    if (list.count == Candidates::kCapacity) {
        prune(list);
        if (list.count > Candidates::kCapacity / 2) {
            settle(list);
        }
    }
    list.bounds[list.count] = bound;
    list.places[list.count] = place;
    list.count++;
}

} // namespace faiss_flash::cpu
