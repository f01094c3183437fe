#include <faiss_flash/core/sampling.h>

#include <chrono>
#include <limits>
#include <random>
#include <unordered_map>

namespace faiss_flash {

std::vector<int64_t> permutation_head(int64_t n, int64_t m, int64_t seed) {
    std::mt19937 generator(static_cast<uint32_t>(seed));
    const auto draw = [&generator](int64_t limit) {
        uint64_t value = generator();
        if (limit > std::numeric_limits<uint32_t>::max()) { // FAISS stops at 2^31 rows
            value = (value << 32) | generator();
        }
        return static_cast<int64_t>(value % static_cast<uint64_t>(limit));
    };
    // The shuffle runs forward, so entries below i are final; only swapped entries are stored.
    std::unordered_map<int64_t, int64_t> moved;
    const auto entry = [&moved](int64_t i) {
        const auto it = moved.find(i);
        return it == moved.end() ? i : it->second;
    };
    std::vector<int64_t> head(static_cast<size_t>(m));
    for (int64_t i = 0; i < m; i++) {
        const int64_t other = i + 1 < n ? i + draw(n - i) : i;
        head[static_cast<size_t>(i)] = entry(other);
        moved[other] = entry(i);
        moved.erase(i);
    }
    return head;
}

std::vector<int64_t> draw_with_replacement(int64_t n, int64_t m, int64_t seed) {
    auto state = static_cast<uint64_t>(seed);
    std::vector<int64_t> rows(static_cast<size_t>(m));
    for (auto& row : rows) { // splitmix64 (Steele, Lea, Flood 2014)
        uint64_t z = (state += 0x9e3779b97f4a7c15u);
        z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
        z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
        z ^= z >> 31;
        row = static_cast<int64_t>(z & 0x7fffffffffffffffu) % n;
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
