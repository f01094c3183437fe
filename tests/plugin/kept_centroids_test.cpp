/// The engine keeps what it has made of an index's vectors: searches see these as they are.
#include <faiss_flash/IndexFlat.h>
#include <faiss_flash/train.h>

#include <support/data.h>
#include <support/oracle.h>

#include <faiss/IndexIVFFlat.h>
#include <gtest/gtest.h>

#include <memory>
#include <thread>
#include <vector>

namespace faiss_flash {
namespace {

using test::Floats;

constexpr int kD = 24;
constexpr int64_t kN = 2000;

std::vector<int64_t> nearest(const faiss::Index& index, const Floats& x) {
    std::vector<int64_t> ids(x.size() / kD);
    Floats distances(ids.size());
    index.search(
            static_cast<int64_t>(ids.size()), x.data(), 1, distances.data(), ids.data(), nullptr);
    return ids;
}

Floats vectors_of(const faiss::IndexFlat& index) {
    return Floats(index.get_xb(), index.get_xb() + index.ntotal * kD);
}

template <class Index>
void expect_exact(const Index& index, Metric metric, const Floats& x) {
    EXPECT_EQ(test::count_wrong(metric, x, vectors_of(index), kD, nearest(index, x)), 0);
}

/// The first, a middle and the last vector; more of them; none of the old ones.
template <class Index>
void expect_edits_seen(Metric metric) {
    const Floats x = test::mixture(kN, kD, 60, 1, 0.4f);
    Index index(kD);
    index.add(300, x.data());
    expect_exact(index, metric, x);
    for (const int64_t row : {0, 150, 299}) {
        index.get_xb()[row * kD] += 100;
        expect_exact(index, metric, x);
        index.get_xb()[row * kD] -= 200;
        expect_exact(index, metric, x);
    }
    index.add(20, x.data() + 1000 * kD);
    expect_exact(index, metric, x);
    index.reset();
    index.add(320, x.data() + 500 * kD);
    expect_exact(index, metric, x);
}

TEST(KeptCentroids, EditsBetweenSearchesAreSeen) {
    expect_edits_seen<IndexFlatL2>(Metric::l2);
    expect_edits_seen<IndexFlatIP>(Metric::inner_product);
}

/// As a rule the allocator gives the second one the memory of the first.
TEST(KeptCentroids, AnotherIndexAtTheSameAddress) {
    const Floats x = test::mixture(kN, kD, 60, 1, 0.4f);
    for (int64_t first = 0; first < 12; first++) {
        const auto index = std::make_unique<IndexFlatL2>(kD);
        index->add(100, x.data() + first * kD);
        expect_exact(*index, Metric::l2, x);
    }
}

TEST(KeptCentroids, FewRowsAreFaisss) {
    const Floats x = test::mixture(kN, kD, 60, 1, 0.4f);
    IndexFlatL2 ours(kD);
    faiss::IndexFlatL2 stock(kD);
    ours.add(300, x.data());
    stock.add(300, x.data());
    expect_exact(ours, Metric::l2, x);
    for (const int64_t rows : {1, 100}) {
        const Floats few(x.begin() + 1000 * kD, x.begin() + (1000 + rows) * kD);
        EXPECT_EQ(nearest(ours, few), nearest(stock, few));
    }
}

TEST(KeptCentroids, SearchesOfSeveralThreads) {
    const Floats x = test::mixture(kN, kD, 60, 1, 0.4f);
    std::vector<std::unique_ptr<IndexFlatL2>> indexes;
    std::vector<std::vector<int64_t>> expected;
    for (int64_t i = 0; i < 3; i++) {
        indexes.push_back(std::make_unique<IndexFlatL2>(kD));
        indexes.back()->add(200, x.data() + i * 300 * kD);
        expected.push_back(nearest(*indexes.back(), x));
    }
    std::vector<std::thread> threads;
    for (size_t t = 0; t < 6; t++) {
        threads.emplace_back([&, t] {
            for (size_t i = 0; i < 12; i++) {
                const size_t one = (i + t) % indexes.size();
                EXPECT_EQ(nearest(*indexes[one], x), expected[one]);
            }
        });
    }
    for (std::thread& thread : threads) {
        thread.join();
    }
}

/// Of a stock index, by add(): batch after batch, and after an edit of its quantizer.
TEST(KeptCentroids, BatchesThatAreAdded) {
    const Floats x = test::mixture(6 * kN, kD, 60, 1, 0.4f);
    faiss::IndexFlatL2 quantizer(kD);
    quantizer.add(50, x.data());
    faiss::IndexIVFFlat index(&quantizer, kD, 50);
    index.is_trained = true;
    for (int64_t batch = 0; batch < 6; batch++) {
        if (batch == 3) {
            quantizer.get_xb()[7 * kD + 1] += 30;
        }
        const Floats rows(x.begin() + batch * kN * kD, x.begin() + (batch + 1) * kN * kD);
        add(index, kN, rows.data());
        std::vector<int64_t> lists(static_cast<size_t>(kN), -1);
        for (size_t list = 0; list < index.nlist; list++) {
            const faiss::InvertedLists::ScopedIds ids(index.invlists, list);
            for (size_t i = 0; i < index.invlists->list_size(list); i++) {
                if (ids[i] >= batch * kN) {
                    lists[static_cast<size_t>(ids[i] - batch * kN)] = static_cast<int64_t>(list);
                }
            }
        }
        EXPECT_EQ(test::count_wrong(Metric::l2, rows, vectors_of(quantizer), kD, lists), 0);
    }
}

} // namespace
} // namespace faiss_flash
