#include <faiss_flash/core/sampling.h>

#include <faiss_flash/core/row_order.h>

#include <chrono>
#include <limits>
#include <numeric>
#include <random>
#include <utility>

namespace faiss_flash {

namespace {

/// Entries of a permutation that were swapped, by their places: at most so many, none taken out.
class SwappedEntries {
   public:
    explicit SwappedEntries(int64_t most) {
        while (size_t{1} << bits_ < 2 * static_cast<size_t>(most)) {
            bits_++;
        }
        slots_.resize(size_t{1} << bits_);
    }

    /// The entry at a place, which is its own number at first; `entry` takes its place.
    int64_t exchange(int64_t place, int64_t entry) {
        size_t at = static_cast<size_t>(place) * 0x9e3779b97f4a7c15u >> (64 - bits_);
        while (slots_[at].place >= 0 && slots_[at].place != place) {
            at = (at + 1) % slots_.size();
        }
        const int64_t before = slots_[at].place == place ? slots_[at].entry : place;
        slots_[at] = {place, entry};
        return before;
    }

   private:
    struct Slot {
        int64_t place = -1;
        int64_t entry = 0;
    };
    int bits_ = 1;
    std::vector<Slot> slots_;
};

} // namespace

std::vector<int64_t> permutation_head(int64_t n, int64_t m, int64_t seed) {
    std::mt19937 generator(static_cast<uint32_t>(seed));
    const auto draw = [&generator](int64_t limit) {
        uint64_t value = generator();
        if (limit > std::numeric_limits<uint32_t>::max()) { // FAISS stops at 2^31 rows
            value = (value << 32) | generator();
        }
        return static_cast<int64_t>(value % static_cast<uint64_t>(limit));
    };
    std::vector<int64_t> head(static_cast<size_t>(m));
    std::iota(head.begin(), head.end(), 0);
    SwappedEntries tail(m); // from place m on
    for (int64_t i = 0; i < m && i + 1 < n; i++) {
        const int64_t other = i + draw(n - i);
        int64_t& entry = head[static_cast<size_t>(i)];
        if (other < m) {
            std::swap(entry, head[static_cast<size_t>(other)]);
        } else {
            entry = tail.exchange(other, entry);
        }
    }
    return head;
}

std::vector<int64_t> draw_with_replacement(int64_t n, int64_t m, int64_t seed) {
    std::vector<int64_t> rows(static_cast<size_t>(m));
    for (int64_t i = 0; i < m; i++) {
        const uint64_t number =
                random_number(static_cast<uint64_t>(seed), static_cast<uint64_t>(i));
        rows[static_cast<size_t>(i)] = static_cast<int64_t>(number & 0x7fffffffffffffffu) % n;
    }
    return rows;
}

int64_t resolve_seed(int64_t seed) {
    if (seed >= 0) {
        return seed;
    }
    const auto now = std::chrono::high_resolution_clock::now().time_since_epoch().count();
    return static_cast<int64_t>(now) & 0x7fffffff;
}

} // namespace faiss_flash
