// The one-class swap beside stock FAISS: same recall of the first neighbour.
#include <faiss/IndexFlat.h>
#include <faiss_flash/IndexIVFFlat.h>

#include <cstdio>
#include <random>
#include <vector>

template <class IndexIVFFlat>
int found_itself(const std::vector<float>& x, int d) {
    const auto n = static_cast<std::int64_t>(x.size()) / d;
    faiss::IndexFlatL2 quantizer(d);
    IndexIVFFlat index(&quantizer, d, 50);
    index.train(n, x.data());
    index.add(n, x.data());
    std::vector<float> distances(x.size() / d);
    std::vector<std::int64_t> ids(distances.size());
    index.search(n, x.data(), 1, distances.data(), ids.data());
    int hits = 0;
    for (std::int64_t i = 0; i < n; i++) {
        hits += ids[static_cast<std::size_t>(i)] == i;
    }
    return hits;
}

int main() {
    const int d = 16;
    std::mt19937 generator(1);
    std::normal_distribution<float> normal;
    std::vector<float> x(5000 * d);
    for (float& value : x) {
        value = normal(generator);
    }
    const int ours = found_itself<faiss_flash::IndexIVFFlat>(x, d);
    const int stock = found_itself<faiss::IndexIVFFlat>(x, d);
    std::printf("faiss_flash %d, stock %d of 5000 found\n", ours, stock);
    return ours == 5000 && stock == 5000 ? 0 : 1;
}
