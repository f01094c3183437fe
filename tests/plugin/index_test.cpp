/// The index classes are ordinary FAISS indexes to every function of FAISS.
#include <faiss_flash/Clustering.h>
#include <faiss_flash/IndexFlat.h>
#include <faiss_flash/IndexIVFFlat.h>

#include <support/data.h>
#include <support/oracle.h>
#include <support/written.h>

#include <faiss/IVFlib.h>
#include <faiss/IndexIDMap.h>
#include <faiss/IndexPreTransform.h>
#include <faiss/VectorTransform.h>
#include <faiss/clone_index.h>
#include <faiss/impl/AuxIndexStructures.h>
#include <gtest/gtest.h>

#include <memory>
#include <typeinfo>

namespace faiss_flash {
namespace {

using test::Floats;
using test::written_and_read;

void expect_same_lists(const faiss::IndexIVF& a, const faiss::IndexIVF& b) {
    ASSERT_EQ(a.nlist, b.nlist);
    EXPECT_EQ(a.ntotal, b.ntotal);
    for (size_t list = 0; list < a.nlist; list++) {
        const size_t size = a.invlists->list_size(list);
        ASSERT_EQ(size, b.invlists->list_size(list)) << list;
        const faiss::InvertedLists::ScopedIds mine(a.invlists, list);
        const faiss::InvertedLists::ScopedIds theirs(b.invlists, list);
        for (size_t i = 0; i < size; i++) {
            ASSERT_EQ(mine[i], theirs[i]) << list;
        }
        faiss::InvertedLists::ScopedCodes my_codes(a.invlists, list);
        faiss::InvertedLists::ScopedCodes their_codes(b.invlists, list);
        EXPECT_TRUE(
                std::equal(my_codes.get(), my_codes.get() + size * a.code_size, their_codes.get()));
    }
}

struct Ivf : testing::TestWithParam<faiss::MetricType> {
    const int d = 16;
    const int64_t n = 5000;
    const size_t nlist = 40;
    Floats x = test::mixture(n, d, 60, 1, 0.4f);
    faiss::IndexFlat quantizer{d, GetParam()};
    IndexIVFFlat index{&quantizer, static_cast<size_t>(d), nlist, GetParam()};
};

TEST_P(Ivf, ListsAreThoseOfStockWithTheSameCentroids) {
    index.train(n, x.data());
    faiss::IndexIVFFlat stock(&quantizer, d, nlist, GetParam());
    stock.train(n, x.data());
    std::vector<int64_t> ids;
    for (int64_t i = 0; i < n; i++) {
        ids.push_back(i * 10);
    }
    index.add_with_ids(n, x.data(), ids.data());
    stock.add_with_ids(n, x.data(), ids.data());
    index.add(7, x.data()); // few: the quantizer's own assign
    stock.add(7, x.data());
    expect_same_lists(index, stock);
}

TEST_P(Ivf, TrainsLikeStock) {
    index.cp.niter = 10;
    index.train(n, x.data());
    faiss::IndexFlat stock_quantizer(d, GetParam());
    faiss::IndexIVFFlat stock(&stock_quantizer, d, nlist, GetParam());
    stock.cp.niter = 10;
    stock.train(n, x.data());
    ASSERT_EQ(quantizer.ntotal, stock_quantizer.ntotal);
    EXPECT_TRUE(index.is_trained);
    double worst = 0;
    for (size_t i = 0; i < nlist * size_t(d); i++) {
        worst = std::max<double>(
                worst, std::abs(quantizer.get_xb()[i] - stock_quantizer.get_xb()[i]));
    }
    EXPECT_LT(worst, 1e-3);
}

TEST_P(Ivf, EveryWayOfTrainingTheQuantizer) {
    for (const char mode : {char{1}, char{2}}) {
        std::unique_ptr<faiss::IndexFlat> flat;
        if (GetParam() == faiss::METRIC_L2) {
            flat.reset(new IndexFlatL2(d, nlist));
        } else {
            flat.reset(new IndexFlatIP(d, nlist));
        }
        IndexIVFFlat other(flat.get(), d, nlist, GetParam());
        other.quantizer_trains_alone = mode;
        other.train(n, x.data());
        EXPECT_EQ(flat->ntotal, static_cast<int64_t>(nlist));
        EXPECT_TRUE(other.is_trained);
        other.add(n, x.data());
        EXPECT_EQ(other.ntotal, n);
    }
}

TEST_P(Ivf, WriteReadAndClone) {
    index.train(n, x.data());
    index.add(n, x.data());
    const auto read = written_and_read(index);
    EXPECT_EQ(typeid(*read), typeid(faiss::IndexIVFFlat));
    expect_same_lists(dynamic_cast<faiss::IndexIVF&>(*read), index);
    const std::unique_ptr<faiss::Index> clone(faiss::clone_index(&index));
    expect_same_lists(dynamic_cast<faiss::IndexIVF&>(*clone), index);
}

TEST_P(Ivf, MergesWithStockAndWithItsOwnKind) {
    index.train(n, x.data());
    faiss::IndexIVFFlat stock(&quantizer, d, nlist, GetParam());
    IndexIVFFlat second(&quantizer, d, nlist, GetParam());
    faiss::IndexIVFFlat whole(&quantizer, d, nlist, GetParam());
    index.add(1000, x.data());
    stock.add(1000, x.data() + 1000 * d);
    second.add(1000, x.data() + 2000 * d);
    whole.add(3000, x.data());
    index.merge_from(stock, 1000);
    index.merge_from(second, 2000);
    expect_same_lists(index, whole);
    faiss::IndexFlat others(d, GetParam());
    others.add(static_cast<int64_t>(nlist), x.data());
    faiss::IndexIVFFlat incompatible(&others, d, nlist, GetParam());
    EXPECT_THROW(index.merge_from(incompatible, 0), faiss::FaissException);
    faiss::IndexFlat no_ivf(d);
    EXPECT_THROW(index.merge_from(no_ivf, 0), faiss::FaissException);
}

TEST_P(Ivf, ReconstructRangeSearchAndRemove) {
    index.train(n, x.data());
    index.add(n, x.data());
    index.nprobe = nlist;
    index.make_direct_map();
    Floats row(static_cast<size_t>(d));
    index.reconstruct(n - 1, row.data());
    EXPECT_TRUE(std::equal(row.begin(), row.end(), x.end() - d));
    index.make_direct_map(false);
    faiss::RangeSearchResult result(1);
    const float radius = GetParam() == faiss::METRIC_L2 ? 1e-3f : -1e3f;
    index.range_search(1, x.data() + (n - 1) * d, radius, &result);
    EXPECT_GT(result.lims[1], 0u);
    EXPECT_EQ(index.remove_ids(faiss::IDSelectorRange(0, n / 2)), static_cast<size_t>(n / 2));
    EXPECT_EQ(index.ntotal, n - n / 2);
}

TEST_P(Ivf, IsReachedThroughTransformsAndMaps) {
    EXPECT_EQ(faiss::ivflib::extract_index_ivf(&index), &index);
    faiss::PCAMatrix pca(d, d);
    faiss::IndexPreTransform chain(&pca, &index);
    faiss::IndexIDMap map(&chain);
    map.train(n, x.data()); // virtual: arrives at the engine
    EXPECT_EQ(quantizer.ntotal, static_cast<int64_t>(nlist));
    EXPECT_TRUE(map.is_trained);
}

INSTANTIATE_TEST_SUITE_P(
        Metrics,
        Ivf,
        testing::Values(faiss::METRIC_L2, faiss::METRIC_INNER_PRODUCT),
        [](const auto& tested) {
            return tested.param == faiss::METRIC_L2 ? "l2" : "inner_product";
        });

template <class Index>
void expect_exact_search(Metric metric) {
    const int d = 32;
    const Floats centroids = test::descriptors(200, d, 2, 1000);
    const Floats x = test::descriptors(2000, d, 3, 1000);
    Index index(d);
    index.add(200, centroids.data());
    std::vector<int64_t> ids(2000);
    Floats distances(2000);
    index.search(2000, x.data(), 1, distances.data(), ids.data());
    EXPECT_EQ(test::count_wrong(metric, x, centroids, d, ids), 0);
    std::vector<int64_t> assigned(2000);
    index.assign(2000, x.data(), assigned.data());
    EXPECT_EQ(assigned, ids);
    for (size_t i = 0; i < 2000; i++) {
        const float* centroid = centroids.data() + ids[i] * d;
        const auto value =
                static_cast<double>(test::exact_value(metric, &x[i * size_t(d)], centroid, d));
        EXPECT_NEAR(distances[i], value, 1e-6 * std::abs(value));
    }
}

TEST(FlatQuantizer, SearchIsExact) {
    expect_exact_search<IndexFlatL2>(Metric::l2);
    expect_exact_search<IndexFlatIP>(Metric::inner_product);
}

TEST(FlatQuantizer, OtherSearchesAreStocks) {
    const int d = 8;
    const Floats x = test::normal(100, d, 1);
    IndexFlatL2 ours(d);
    faiss::IndexFlatL2 stock(d);
    ours.add(100, x.data());
    stock.add(100, x.data());
    for (const int64_t k : {1, 5}) {
        std::vector<int64_t> mine(100 * size_t(k));
        std::vector<int64_t> theirs(mine);
        Floats distances(mine.size());
        ours.search(k == 1 ? 3 : 100, x.data(), k, distances.data(), mine.data());
        stock.search(k == 1 ? 3 : 100, x.data(), k, distances.data(), theirs.data());
        EXPECT_EQ(mine, theirs);
    }
}

/// FAISS's own answer to a NaN depends on its version and on how many queries there are.
TEST(FlatQuantizer, NaNQueriesAreAnsweredByMinusOne) {
    const int d = 8;
    Floats x = test::normal(100, d, 1);
    IndexFlatL2 ours(d);
    ours.add(50, x.data());
    x[8 * 60] = NAN;
    std::vector<int64_t> ids(100);
    Floats distances(100);
    ours.search(100, x.data(), 1, distances.data(), ids.data());
    faiss::IndexFlatL2 stock(d);
    stock.add(50, ours.get_xb());
    std::vector<int64_t> expected(100);
    stock.search(100, x.data(), 1, distances.data(), expected.data());
    expected[60] = -1;
    EXPECT_EQ(ids, expected);
}

TEST(FlatQuantizer, IsWrittenAsAStockIndex) {
    const Floats x = test::normal(10, 8, 1);
    IndexFlatIP ours(8, 4);
    ours.add(10, x.data());
    const auto read = written_and_read(ours);
    EXPECT_EQ(read->ntotal, 10);
    EXPECT_EQ(read->metric_type, faiss::METRIC_INNER_PRODUCT);
    EXPECT_NE(dynamic_cast<faiss::IndexFlat*>(read.get()), nullptr);
}

TEST(FlatQuantizer, WithoutNlistTrainDoesNothing) {
    const Floats x = test::normal(10, 8, 1);
    IndexFlatL2 ours(8);
    ours.train(10, x.data());
    EXPECT_EQ(ours.ntotal, 0);
}

} // namespace
} // namespace faiss_flash
