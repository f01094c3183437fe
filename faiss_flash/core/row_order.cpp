#include <faiss_flash/core/row_order.h>

namespace faiss_flash {

RowOrder RowOrder::shuffled(int64_t n, uint64_t seed) {
    RowOrder order{};
    while (n >> order.block_bits > kMostApart) {
        order.block_bits++;
    }
    order.blocks = n >> order.block_bits;
    while (int64_t{1} << order.bits < order.blocks) {
        order.bits++;
    }
    for (uint64_t i = 0; i < kRounds; i++) {
        order.factors[i] = random_number(seed, 2 * i) | 1;
        order.summands[i] = random_number(seed, 2 * i + 1);
    }
    return order;
}

} // namespace faiss_flash
