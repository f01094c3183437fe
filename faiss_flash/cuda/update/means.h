/// The means of clusters from their fixed-point sums.
#pragma once

#include <faiss_flash/cuda/update/layout.h>
#include <faiss_flash/cuda/update/update.h>

#include <cstdint>

namespace faiss_flash::cuda {

struct MeanArguments {
    long long* sums;
    unsigned long long* counts;
    bool keep; ///< sums and counts for the next run; else they are cleared
    bool weighted;
    int64_t clusters; ///< of all problems,
    int64_t k;        ///< and of one
    int d;
    SumLayout layout;
    const double* units; ///< [batch x (d + 1)]
    double limb_unit;
    int limbs;
    CentroidUpdate::Output output;
    CentroidUpdate::Gains gains;
};

/// Fills arguments.output: sums are rounded to float64 once, means to float32 once.
void find_means(const MeanArguments& arguments, cudaStream_t stream);

} // namespace faiss_flash::cuda
