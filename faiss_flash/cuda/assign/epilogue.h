/// What a kernel does with the scores that it makes. Plain C++.
#pragma once

#include <cstdint>

namespace faiss_flash::cuda {

enum class Epilogue : uint8_t {
    best,       ///< keeps every row's best score and its id (saved_best.cuh, searched_best.cuh)
    second,     ///< and the second best score
    candidates, ///< lists the ids of scores that reach the row's bar (listed_candidates.cuh)
};

} // namespace faiss_flash::cuda
