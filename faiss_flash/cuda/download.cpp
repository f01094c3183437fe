#include <faiss_flash/cuda/download.h>

#include <faiss_flash/core/parallel.h>
#include <faiss_flash/cuda/runtime/copy.h>
#include <faiss_flash/cuda/runtime/pinned.h>

#include <algorithm>

namespace faiss_flash::cuda {

namespace {

constexpr int64_t kBlock = kPinnedBlock / sizeof(float); // values
constexpr size_t kGroup = 8; // blocks that are on their way together: threads empty them together

/// Values first, first + 1, ... of all arrays, in a page-locked block or on their way there.
struct Block {
    Pinned<float> values;
    int64_t first, count;
};
using Group = std::vector<Block>;

/// Puts a group's values in their places.
void deal_out(const Group& group, const std::vector<float*>& to, int64_t each) {
    constexpr int64_t kPiece = 65536; // of one thread; a block is a multiple of it
    const int64_t all = static_cast<int64_t>(group.size()) * kBlock;
    for_each_range(all, kPiece, [&](int64_t piece, int64_t) {
        const Block& block = group[static_cast<size_t>(piece / kBlock)];
        int64_t begin = piece % kBlock;
        const int64_t end = std::min(begin + kPiece, block.count);
        while (begin < end) {
            const int64_t array = (block.first + begin) / each;
            const int64_t at = block.first + begin - array * each;
            const int64_t together = std::min(end - begin, each - at);
            if (float* array_values = to[static_cast<size_t>(array)]) {
                std::copy_n(block.values.get() + begin, together, array_values + at);
            }
            begin += together;
        }
    });
}

/// The first values of the blocks that somebody wants some of.
std::vector<int64_t> wanted_blocks(const std::vector<float*>& to, int64_t each) {
    const int64_t all = static_cast<int64_t>(to.size()) * each;
    std::vector<int64_t> blocks;
    for (int64_t first = 0; first < all; first += kBlock) {
        const auto begin = to.begin() + first / each;
        const auto end = to.begin() + (std::min(all, first + kBlock) - 1) / each + 1;
        if (std::any_of(begin, end, [](const float* array) { return array != nullptr; })) {
            blocks.push_back(first);
        }
    }
    return blocks;
}

} // namespace

void download(const float* from, const std::vector<float*>& to, int64_t each, cudaStream_t stream) {
    const int64_t all = static_cast<int64_t>(to.size()) * each;
    const std::vector<int64_t> blocks = wanted_blocks(to, each);
    Group groups[2];
    LastTwo copies;  // ends first
    size_t next = 0; // block
    // Two groups are on their way before the first is emptied.
    for (int turn = 0; turn < 2 || !groups[copies.place()].empty(); turn++) {
        Group& group = groups[copies.place()];
        copies.wait_for_place();
        deal_out(group, to, each);
        const size_t count = std::min(kGroup, blocks.size() - next);
        group.resize(count);
        for (Block& block : group) {
            block.first = blocks[next++];
            block.count = std::min(kBlock, all - block.first);
            if (!block.values.get()) {
                block.values = Pinned<float>(static_cast<size_t>(block.count));
            }
            copy(block.values.get(),
                 from + block.first,
                 block.count,
                 cudaMemcpyDeviceToHost,
                 stream);
        }
        copies.queued(stream);
    }
}

} // namespace faiss_flash::cuda
