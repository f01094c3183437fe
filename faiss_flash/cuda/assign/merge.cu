// Budget: 8 or 12 bytes a row and part in, 8 or 12 a row out.
//
// One thread a row: the best of the parts' best, the first of equals, as parts are in the order of
// ids; the second best among all the others.
#include <faiss_flash/cuda/assign/merge.h>
#include <faiss_flash/cuda/runtime/check.h>

namespace faiss_flash::cuda {

namespace {

__global__ void merge_kernel(AssignOutput parts, int splits, int64_t rows, AssignOutput output) {
    const int64_t row = int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
    if (row >= rows) {
        return;
    }
    float best = parts.best[row];
    float second = parts.second ? parts.second[row] : 0;
    int32_t id = parts.ids[row];
    for (int s = 1; s < splits; s++) {
        const int64_t at = s * rows + row;
        const float other = parts.best[at];
        if (parts.second) {
            second = fmaxf(fmaxf(second, parts.second[at]), fminf(best, other));
        }
        if (other > best) { // of equal scores the earlier part has the lower id
            best = other;
            id = parts.ids[at];
        }
    }
    output.best[row] = best;
    output.ids[row] = id;
    if (output.second) {
        output.second[row] = second;
    }
}

} // namespace

void merge_splits(
        const AssignOutput& parts,
        int splits,
        int64_t rows,
        const AssignOutput& output,
        cudaStream_t stream) {
    constexpr int kThreads = 128;
    const auto blocks = blocks_of(rows, kThreads);
    merge_kernel<<<blocks, kThreads, 0, stream>>>(parts, splits, rows, output);
    check_launch("merging the parts of an assignment");
}

} // namespace faiss_flash::cuda
