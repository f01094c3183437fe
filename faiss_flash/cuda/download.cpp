#include <faiss_flash/cuda/download.h>

#include <faiss_flash/core/parallel.h>
#include <faiss_flash/cuda/runtime/copy.h>
#include <faiss_flash/cuda/runtime/pinned.h>

#include <algorithm>

namespace faiss_flash::cuda {

namespace {

/// Puts values first .. first + count - 1 of all arrays in their places.
void deal_out(
        const float* values,
        int64_t first,
        int64_t count,
        const std::vector<float*>& to,
        int64_t each) {
    constexpr int64_t kPiece = 65536; // of one thread
    for_each_range(count, kPiece, [&](int64_t begin, int64_t end) {
        while (begin < end) {
            const int64_t array = (first + begin) / each;
            const int64_t at = first + begin - array * each;
            const int64_t together = std::min(end - begin, each - at);
            if (float* array_values = to[static_cast<size_t>(array)]) {
                std::copy_n(values + begin, together, array_values + at);
            }
            begin += together;
        }
    });
}

} // namespace

void download(const float* from, const std::vector<float*>& to, int64_t each, cudaStream_t stream) {
    const int64_t all = static_cast<int64_t>(to.size()) * each;
    const int64_t block = std::min(all, static_cast<int64_t>(kPinnedBlock / sizeof(float)));
    std::vector<int64_t> blocks; // whose values somebody wants
    for (int64_t first = 0; first < all; first += block) {
        const auto begin = to.begin() + first / each;
        const auto end = to.begin() + (std::min(all, first + block) - 1) / each + 1;
        if (std::any_of(begin, end, [](const float* array) { return array != nullptr; })) {
            blocks.push_back(first);
        }
    }
    PinnedPair<float> staging(static_cast<size_t>(block));
    const auto wanted = static_cast<int64_t>(blocks.size());
    for (int64_t i = -2; i < wanted; i++) { // two blocks are on their way before the first is taken
        float* buffer = staging.next();
        if (i >= 0) {
            const int64_t first = blocks[static_cast<size_t>(i)];
            deal_out(buffer, first, std::min(block, all - first), to, each);
        }
        if (i + 2 < wanted) {
            const int64_t first = blocks[static_cast<size_t>(i + 2)];
            const int64_t count = std::min(block, all - first);
            copy(buffer, from + first, count, cudaMemcpyDeviceToHost, stream);
            staging.in_use(stream);
        }
    }
}

} // namespace faiss_flash::cuda
