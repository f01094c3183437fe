/// The centroids that may still be a point's nearest, while its scores stream by.
#pragma once

#include <cstdint>

namespace faiss_flash::cpu {

/// Keeps every id whose score is within `margin` of the best score so far. With margin = twice the
/// bound of a score's error the true best is always among them. Trivial members only: the score
/// kernels are compiled for several instruction sets.
struct Candidates {
    static constexpr int kCapacity = 14;

    float threshold; // scores below cannot win
    float best;
    float margin;
    int32_t count;
    bool overflow; // more than kCapacity: every centroid must be looked at
    float scores[kCapacity];
    int32_t ids[kCapacity];
};

static inline void reset(Candidates& list, float margin) {
    list.threshold = -3.402823466e38f;
    list.best = list.threshold;
    list.margin = margin;
    list.count = 0;
    list.overflow = false;
}

/// Drops what the best score has left behind.
static inline void prune(Candidates& list) {
    int32_t kept = 0;
    for (int32_t i = 0; i < list.count; i++) {
        if (list.scores[i] >= list.threshold) {
            list.scores[kept] = list.scores[i];
            list.ids[kept] = list.ids[i];
            kept++;
        }
    }
    list.count = kept;
}

/// Takes a score; ids must come in ascending order.
static inline void offer(Candidates& list, float score, int32_t id) {
    if (!(score >= list.threshold)) {
        return;
    }
    if (score > list.best) {
        list.best = score;
        list.threshold = score - list.margin;
    }
    if (list.count == Candidates::kCapacity) {
        prune(list);
        if (list.count == Candidates::kCapacity) {
            list.overflow = true;
            return;
        }
    }
    list.scores[list.count] = score;
    list.ids[list.count] = id;
    list.count++;
}

} // namespace faiss_flash::cpu
