/// Whole index builds: codebooks, train, add, accelerate and the factory beside FAISS's own.
#include <faiss_flash/IndexFlat.h>
#include <faiss_flash/ProductQuantizer.h>
#include <faiss_flash/index_factory.h>
#include <faiss_flash/train.h>

#include <support/data.h>

#include <faiss/IVFlib.h>
#include <faiss/IndexFlat.h>
#include <faiss/IndexIDMap.h>
#include <faiss/IndexIVFPQ.h>
#include <faiss/IndexPQ.h>
#include <faiss/IndexPreTransform.h>
#include <faiss/clone_index.h>
#include <faiss/impl/FaissException.h>
#include <faiss/index_factory.h>
#include <faiss/index_io.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstdio>
#include <memory>
#include <numeric>

namespace faiss_flash {
namespace {

using test::Floats;
using IndexPointer = std::unique_ptr<faiss::Index>;

constexpr int kDim = 32;
constexpr int64_t kPoints = 6000;

Floats points() {
    return test::mixture(kPoints, kDim, 100, 1, 0.7f);
}

IndexPointer made(const std::string& key, faiss::MetricType metric = faiss::METRIC_L2) {
    return IndexPointer(faiss::index_factory(kDim, key.c_str(), metric));
}

/// Mean squared distance of the points to what their codes stand for.
double error_of(faiss::Index& index, const Floats& x) {
    Floats decoded(x.size());
    index.reset();
    index.add(kPoints, x.data());
    index.reconstruct_n(0, kPoints, decoded.data());
    double sum = 0;
    for (size_t i = 0; i < x.size(); i++) {
        sum += std::pow(static_cast<double>(x[i]) - decoded[i], 2);
    }
    return sum / static_cast<double>(kPoints);
}

struct Codes : testing::TestWithParam<const char*> {};

TEST_P(Codes, LoseAsMuchAsStocks) {
    const Floats x = points();
    const IndexPointer ours = made(GetParam());
    const IndexPointer stock = made(GetParam());
    for (faiss::Index* index : {ours.get(), stock.get()}) {
        auto* transforming = dynamic_cast<faiss::IndexPreTransform*>(index);
        auto* opq = dynamic_cast<faiss::OPQMatrix*>(
                transforming ? transforming->chain.front() : nullptr);
        if (opq) { // stock's takes long
            opq->niter = 5;
            opq->niter_pq_0 = 10;
        }
    }
    train(*ours, kPoints, x.data());
    stock->train(kPoints, x.data());
    ASSERT_TRUE(ours->is_trained);
    for (faiss::Index* index : {ours.get(), stock.get()}) {
        const faiss::Index* inner = index;
        if (const auto* transforming = dynamic_cast<faiss::IndexPreTransform*>(index)) {
            inner = transforming->index;
        }
        if (auto* ivf = dynamic_cast<const faiss::IndexIVF*>(inner)) {
            const_cast<faiss::IndexIVF*>(ivf)->make_direct_map();
        }
    }
    const double expected = error_of(*stock, x);
    EXPECT_GT(expected, 0);
    EXPECT_NEAR(error_of(*ours, x), expected, 0.02 * expected);
}

INSTANTIATE_TEST_SUITE_P(
        Keys,
        Codes,
        testing::Values(
                "PQ8x4np",
                "PQ8x5np",
                "IVF32,PQ8x4np",
                "IVF32,PQ8x5np",
                "IVF32,SQ8",
                "OPQ8,PQ8x4np",
                "OPQ8_40,PQ8x4np",
                "PCA16,IVF32,PQ8x4np"));

TEST(ProductQuantizer, TrainTypesAreFaisss) {
    using Quantizer = faiss::ProductQuantizer;
    const Floats x = points();
    for (const auto type :
         {Quantizer::Train_default,
          Quantizer::Train_hot_start,
          Quantizer::Train_shared,
          Quantizer::Train_hypercube}) {
        SCOPED_TRACE(static_cast<int>(type));
        Quantizer ours(kDim, 4, 6);
        ours.train_type = type;
        ours.cp.niter = 6;
        const Floats start = test::normal(4 * 64, 8, 3);
        std::copy(start.begin(), start.end(), ours.centroids.begin());
        Quantizer stock = ours;
        train(ours, kPoints, x.data());
        stock.train(kPoints, x.data());
        EXPECT_EQ(ours.train_type, type);
        double difference = 0;
        for (size_t i = 0; i < ours.centroids.size(); i++) {
            difference += std::abs(ours.centroids[i] - stock.centroids[i]);
        }
        EXPECT_LT(difference / static_cast<double>(ours.centroids.size()), 0.02);
    }
}

TEST(ProductQuantizer, AFailedTrainingKeepsTheCodebook) {
    faiss::ProductQuantizer pq(kDim, 4, 6);
    const auto before = pq.centroids = test::normal(4 * 64, 8, 3);
    Floats x = points();
    x[77] = NAN;
    EXPECT_THROW(train(pq, kPoints, x.data()), faiss::FaissException);
    EXPECT_THROW(train(pq, 10, x.data()), faiss::FaissException);
    EXPECT_EQ(pq.centroids, before);
}

void expect_equal_lists(faiss::Index& a, faiss::Index& b) {
    const auto& lists = *faiss::ivflib::extract_index_ivf(&a)->invlists;
    const auto& others = *faiss::ivflib::extract_index_ivf(&b)->invlists;
    ASSERT_EQ(lists.nlist, others.nlist);
    for (size_t i = 0; i < lists.nlist; i++) {
        const size_t size = lists.list_size(i);
        ASSERT_EQ(size, others.list_size(i)) << i;
        faiss::InvertedLists::ScopedIds ids(&lists, i);
        faiss::InvertedLists::ScopedIds other_ids(&others, i);
        EXPECT_TRUE(std::equal(ids.get(), ids.get() + size, other_ids.get())) << i;
        faiss::InvertedLists::ScopedCodes codes(&lists, i);
        faiss::InvertedLists::ScopedCodes other_codes(&others, i);
        // Fast-scan packs codes into blocks: the same function for both.
        const size_t bytes = lists.code_size == size_t(-1) ? 0 : size * lists.code_size;
        EXPECT_TRUE(std::equal(codes.get(), codes.get() + bytes, other_codes.get())) << i;
    }
}

struct Lists : testing::TestWithParam<const char*> {};

TEST_P(Lists, AreStocksForTheSameCentroids) {
    const Floats x = points();
    const std::string key = GetParam();
    const IndexPointer ours = made(key);
    train(*ours, kPoints, x.data());
    IndexPointer stock;
    if (key.find("fs") == std::string::npos) {
        stock.reset(faiss::clone_index(ours.get()));
    } else { // cannot be cloned in old versions: the same training again
        stock = made(key);
        train(*stock, kPoints, x.data());
    }
    std::vector<int64_t> ids(kPoints);
    std::iota(ids.begin(), ids.end(), 1000);
    const bool named = key.find("IDMap") != std::string::npos;
    if (named) {
        stock->add_with_ids(kPoints, x.data(), ids.data());
    } else {
        stock->add(kPoints, x.data());
    }
    const int64_t half = kPoints / 2;
    add(*ours, half, x.data(), named ? ids.data() : nullptr);
    add(*ours, kPoints - half, x.data() + half * kDim, named ? ids.data() + half : nullptr);
    EXPECT_EQ(ours->ntotal, kPoints);
    expect_equal_lists(*ours, *stock);
    Floats queries(x.begin(), x.begin() + 20 * kDim);
    Floats distances(20), other_distances(20);
    std::vector<int64_t> found(20), others(20);
    ours->search(20, queries.data(), 1, distances.data(), found.data());
    stock->search(20, queries.data(), 1, other_distances.data(), others.data());
    EXPECT_EQ(found, others);
}

INSTANTIATE_TEST_SUITE_P(
        Keys,
        Lists,
        testing::Values(
                "IVF32,Flat",
                "IVF32,PQ8x4np",
                "IVF32,PQ8x4fs",
                "IVF32,SQ8",
                "IVF32,PQ8+4",
                "IVF32_HNSW8,Flat",
                "IMI2x3,Flat",
                "IDMap,IVF32,Flat",
                "IDMap2,IVF32,PQ8x4np"));

TEST(Add, RejectsWhatIsNotFiniteAndAddsNothing) {
    Floats x = points();
    const IndexPointer index = made("IDMap,IVF32,Flat");
    EXPECT_THROW(add(*index, kPoints, x.data()), faiss::FaissException);
    train(*index, kPoints, x.data());
    x[5 * kDim + 3] = INFINITY;
    const std::vector<int64_t> ids(kPoints, 7);
    try {
        add(*index, kPoints, x.data(), ids.data());
        FAIL() << "no exception";
    } catch (const faiss::FaissException& error) {
        EXPECT_NE(std::string(error.what()).find("x[5][3] is not finite"), std::string::npos);
    }
    EXPECT_EQ(index->ntotal, 0);
}

TEST(Add, KeepsDirectMaps) {
    const Floats x = points();
    const IndexPointer index = made("IVF32,Flat");
    train(*index, kPoints, x.data());
    auto* ivf = faiss::ivflib::extract_index_ivf(index.get());
    ivf->set_direct_map_type(faiss::DirectMap::Hashtable);
    std::vector<int64_t> ids(kPoints);
    std::iota(ids.begin(), ids.end(), 50);
    add(*index, kPoints, x.data(), ids.data());
    Floats row(kDim);
    ivf->reconstruct(50 + 123, row.data());
    EXPECT_TRUE(std::equal(row.begin(), row.end(), x.begin() + 123 * kDim));
}

TEST(Accelerate, TheIndexItselfUsesTheEngine) {
    const Floats x = points();
    for (const auto metric : {faiss::METRIC_L2, faiss::METRIC_INNER_PRODUCT}) {
        const IndexPointer index = faiss_flash::index_factory(kDim, "IDMap,IVF32,Flat", metric);
        auto* ivf = faiss::ivflib::extract_index_ivf(index.get());
        EXPECT_TRUE(
                dynamic_cast<IndexFlatL2*>(ivf->quantizer) ||
                dynamic_cast<IndexFlatIP*>(ivf->quantizer));
        EXPECT_TRUE(ivf->own_fields);
        index->train(kPoints, x.data());
        EXPECT_EQ(ivf->quantizer->ntotal, 32);
        std::vector<int64_t> ids(kPoints);
        std::iota(ids.begin(), ids.end(), 0);
        index->add_with_ids(kPoints, x.data(), ids.data());
        const IndexPointer clone(faiss::clone_index(index.get()));
        EXPECT_EQ(clone->ntotal, kPoints);
        const std::string file = testing::TempDir() + "accelerated.index";
        faiss::write_index(index.get(), file.c_str());
        const IndexPointer read(faiss::read_index(file.c_str()));
        std::remove(file.c_str());
        expect_equal_lists(*index, *read);
    }
}

TEST(Accelerate, KeepsAUsersQuantizer) {
    const Floats x = points();
    faiss::IndexFlatL2 quantizer(kDim);
    quantizer.add(32, x.data());
    faiss::IndexIVFPQ index(&quantizer, kDim, 32, 8, 4);
    accelerate(index);
    EXPECT_NE(index.quantizer, &quantizer);
    EXPECT_EQ(index.quantizer->ntotal, 32);
    EXPECT_EQ(quantizer.ntotal, 32);
    index.train(kPoints, x.data());
    index.add(kPoints, x.data());
    EXPECT_EQ(index.ntotal, kPoints);
}

TEST(Train, AFailureLeavesTheIndexUntouched) {
    Floats x = points();
    x[3] = NAN;
    for (const char* key : {"IVF32,PQ8x4np", "PCA16,IVF32,Flat", "PQ8x4np", "IVF32,PQ8x4fs"}) {
        const IndexPointer index = made(key);
        EXPECT_THROW(train(*index, kPoints, x.data()), faiss::FaissException) << key;
        EXPECT_FALSE(index->is_trained) << key;
        Floats good = points();
        train(*index, kPoints, good.data());
        EXPECT_TRUE(index->is_trained) << key;
    }
}

TEST(Train, ACodebookIsFoundOnceAndParametersStay) {
    const Floats x = points();
    const IndexPointer index = made("IVF32,PQ8x4np");
    train(*index, kPoints, x.data());
    const auto& pq = dynamic_cast<faiss::IndexIVFPQ&>(*index).pq;
    EXPECT_EQ(pq.train_type, faiss::ProductQuantizer::Train_default);
    EXPECT_EQ(pq.cp.niter, 25);
}

} // namespace
} // namespace faiss_flash
