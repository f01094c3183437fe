/// Rows with a NaN or an Inf: rejected before anything, named by their place in the caller's array.
#include <faiss_flash/Clustering.h>
#include <faiss_flash/IndexFlat.h>
#include <faiss_flash/IndexIVFFlat.h>
#include <faiss_flash/ProductQuantizer.h>
#include <faiss_flash/index_factory.h>
#include <faiss_flash/train.h>

#include <support/data.h>

#include <faiss/IVFlib.h>
#include <faiss/IndexFlat.h>
#include <faiss/IndexHNSW.h>
#include <faiss/IndexIVF.h>
#include <faiss/IndexPreTransform.h>
#include <faiss/MetaIndexes.h>
#include <faiss/VectorTransform.h>
#include <faiss/impl/FaissException.h>
#include <faiss/index_factory.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <memory>
#include <numeric>

namespace faiss_flash {
namespace {

using test::Floats;
using IndexPointer = std::unique_ptr<faiss::Index>;

constexpr int kDim = 16;
constexpr int64_t kPoints = 1000;

Floats points() {
    return test::mixture(kPoints, kDim, 40, 1, 0.5f);
}

std::string message_of(const std::function<void()>& call) {
    try {
        call();
    } catch (const faiss::FaissException& error) {
        return error.what();
    }
    return "no exception";
}

#define EXPECT_NAMES(call, text)                               \
    do {                                                       \
        const std::string message = message_of([&] { call; }); \
        EXPECT_NE(message.find(text), std::string::npos)       \
                << "expected " << text << ": " << message;     \
    } while (false)

int64_t stored(const faiss::Index& index) {
    const auto* ivf = faiss::ivflib::try_extract_index_ivf(&index);
    if (!ivf) {
        return index.ntotal;
    }
    int64_t count = 0;
    for (size_t list = 0; list < ivf->nlist; list++) {
        count += static_cast<int64_t>(ivf->invlists->list_size(list));
    }
    return count;
}

void fill(faiss::Index& index, int64_t n, const float* x, bool own) {
    std::vector<int64_t> ids(static_cast<size_t>(n));
    std::iota(ids.begin(), ids.end(), 0);
    const auto* mapping = dynamic_cast<faiss::IndexIDMap*>(&index);
    const int64_t* xids = mapping ? ids.data() : nullptr;
    if (!own) {
        add(index, n, x, xids);
    } else if (xids) {
        index.add_with_ids(n, x, xids);
    } else {
        index.add(n, x);
    }
}

struct Kind : testing::TestWithParam<const char*> {
    Floats x = points();
    IndexPointer index{faiss::index_factory(kDim, GetParam())};
};

TEST_P(Kind, TrainNamesTheCallersRowAndColumn) {
    x[777 * kDim + 5] = INFINITY;
    EXPECT_NAMES(train(*index, kPoints, x.data()), "x[777][5] is not finite");
    x[777 * kDim + 5] = 0;
    train(*index, kPoints, x.data());
    EXPECT_TRUE(index->is_trained);
}

TEST_P(Kind, AddRejectsAndAddsNothing) {
    train(*index, kPoints, x.data());
    for (const int64_t n : {2, 60, 700}) {
        Floats rows(x.begin(), x.begin() + n * kDim);
        rows[static_cast<size_t>((n - 1) * kDim + 3)] = NAN;
        const std::string expected = "x[" + std::to_string(n - 1) + "][3] is not finite";
        EXPECT_NAMES(fill(*index, n, rows.data(), false), expected);
        EXPECT_EQ(index->ntotal, 0);
        EXPECT_EQ(stored(*index), 0);
    }
    fill(*index, kPoints, x.data(), false);
    EXPECT_EQ(stored(*index), kPoints);
}

INSTANTIATE_TEST_SUITE_P(
        Keys,
        Kind,
        testing::Values(
                "Flat",
                "SQ8",
                "PQ8x4np",
                "PQ8x4fs",
                "RQ2x4",
                "HNSW8",
                "IVF16,Flat",
                "IVF16,SQ8",
                "IVF16,PQ8x4np",
                "IVF16,PQ8x4fs",
                "IVF16,PQ8x4fsr",
                "IVF16,PQ2+2",
                "IVF16,RQ2x4",
                "IVF16_HNSW8,SQ8",
                "IMI2x2,Flat",
                "IVF16(RCQ2x2),Flat",
                "PCA8,IVF16,Flat",
                "OPQ8_8,IVF16,PQ8x4np",
                "PCA8,PQ8x4np",
                "IDMap,IVF16,Flat",
                "IVF16,PQ8x4np,RFlat"));

/// The index's own add as well, where its quantizer is flat.
struct OwnAdd : testing::TestWithParam<const char*> {};

TEST_P(OwnAdd, OfAnAcceleratedIndexRejects) {
    const Floats x = points();
    const IndexPointer index = faiss_flash::index_factory(kDim, GetParam());
    index->train(kPoints, x.data());
    for (const int64_t n : {2, 60, 700}) {
        Floats rows(x.begin(), x.begin() + n * kDim);
        rows[static_cast<size_t>((n - 1) * kDim + 3)] = NAN;
        const std::string expected = "x[" + std::to_string(n - 1) + "]";
        EXPECT_NAMES(fill(*index, n, rows.data(), true), expected);
        EXPECT_EQ(index->ntotal, 0);
        EXPECT_EQ(stored(*index), 0);
    }
    fill(*index, kPoints, x.data(), true);
    EXPECT_EQ(stored(*index), kPoints);
}

INSTANTIATE_TEST_SUITE_P(
        Keys,
        OwnAdd,
        testing::Values(
                "IVF16,Flat",
                "IVF16,SQ8",
                "IVF16,PQ8x4np",
                "IVF16,PQ8x4fs",
                "IVF16,PQ8x4fsr",
                "IVF16,RQ2x4",
                "PCA8,IVF16,Flat",
                "IDMap,IVF16,Flat"));

TEST(Finite, TheClassNamesRowAndColumn) {
    Floats x = points();
    faiss::IndexFlatL2 quantizer(kDim);
    IndexIVFFlat index(&quantizer, kDim, 16);
    x[999 * kDim + 2] = NAN;
    EXPECT_NAMES(index.train(kPoints, x.data()), "x[999][2] is not finite");
    x[999 * kDim + 2] = 0;
    index.train(kPoints, x.data());
    for (const int64_t n : {2, 60, 700}) {
        x[static_cast<size_t>((n - 1) * kDim + 3)] = NAN;
        EXPECT_NAMES(index.add(n, x.data()), "x[" + std::to_string(n - 1) + "][3] is not finite");
        x[static_cast<size_t>((n - 1) * kDim + 3)] = 0;
    }
    EXPECT_EQ(stored(index), 0);
}

/// Over the engine's kind of index and over another, which FAISS's own clustering is left to.
TEST(Finite, AClusteringNamesRowAndColumn) {
    Floats x = points();
    x[3 * kDim + 4] = NAN;
    faiss::IndexFlatL2 flat(kDim);
    faiss::IndexHNSWFlat graph(kDim, 8);
    for (faiss::Index* index :
         {static_cast<faiss::Index*>(&flat), static_cast<faiss::Index*>(&graph)}) {
        Clustering clustering(kDim, 5);
        EXPECT_NAMES(clustering.train(kPoints, x.data(), *index), "x[3][4] is not finite");
        EXPECT_NAMES(clustering.train(kPoints, nullptr, *index), "x is null with n=1000");
        EXPECT_EQ(index->ntotal, 0);
    }
}

/// Not the column of the sub-space.
TEST(Finite, ACodebookNamesRowAndColumn) {
    Floats x = points();
    x[500 * kDim + 13] = NAN;
    for (const auto type :
         {faiss::ProductQuantizer::Train_default,
          faiss::ProductQuantizer::Train_shared,
          faiss::ProductQuantizer::Train_hypercube}) {
        faiss::ProductQuantizer pq(kDim, 4, 4);
        pq.train_type = type;
        EXPECT_NAMES(train(pq, kPoints, x.data()), "x[500][13] is not finite");
        EXPECT_NAMES(train(pq, kPoints, nullptr), "x is null with n=1000");
    }
}

/// Finite rows that a transform makes infinite: their row is the caller's, the array is not.
TEST(Finite, WhatATransformMakesInfiniteIsRejected) {
    Floats x = points();
    faiss::LinearTransform doubling(kDim, kDim);
    doubling.A.assign(kDim * kDim, 0.0f);
    for (size_t i = 0; i < kDim; i++) {
        doubling.A[i * kDim + i] = 2;
    }
    doubling.is_trained = true;
    const IndexPointer inner(faiss::index_factory(kDim, "IVF16,SQ8"));
    faiss::IndexPreTransform index(&doubling, inner.get());
    x[321 * kDim + 7] = 3e38f;
    EXPECT_NAMES(train(index, kPoints, x.data()), "the transformed x[321]");
    EXPECT_FALSE(index.is_trained);
    const Floats good = points();
    train(index, kPoints, good.data());
    EXPECT_NAMES(add(index, kPoints, x.data()), "the transformed x[321]");
    EXPECT_EQ(index.ntotal, 0);
}

/// Squares beyond float32 are no reason to drop a row, however few there are.
TEST(Finite, HugeRowsAreAdded) {
    const Floats x = points();
    const Floats huge(x.size(), 1e25f);
    for (const int64_t n : {1, 25, 700}) {
        const IndexPointer stock(faiss::index_factory(kDim, "IVF16,Flat"));
        const IndexPointer ours = faiss_flash::index_factory(kDim, "IVF16,Flat");
        faiss::IndexFlatL2 quantizer(kDim);
        IndexIVFFlat of_class(&quantizer, kDim, 16);
        for (faiss::Index* index :
             {stock.get(), ours.get(), static_cast<faiss::Index*>(&of_class)}) {
            index->train(kPoints, x.data());
            fill(*index, n, huge.data(), index != stock.get());
            EXPECT_EQ(stored(*index), n);
        }
    }
}

struct Queries : testing::Test {
    Floats x = points();
    IndexFlatL2 l2{kDim};
    IndexFlatIP ip{kDim};
    Queries() {
        l2.add(50, x.data());
        ip.add(50, x.data());
    }
};

/// A NaN among queries is no error: FAISS answers -1.
TEST_F(Queries, WithANaNAreAnsweredByMinusOne) {
    for (const int64_t n : {3, 60, 900}) {
        Floats queries(x.begin(), x.begin() + n * kDim);
        queries[static_cast<size_t>((n - 1) * kDim)] = NAN;
        for (const faiss::Index* index :
             {static_cast<faiss::Index*>(&l2), static_cast<faiss::Index*>(&ip)}) {
            std::vector<int64_t> ids(static_cast<size_t>(n), 7);
            Floats distances(ids.size());
            index->search(n, queries.data(), 1, distances.data(), ids.data());
            EXPECT_EQ(ids.back(), -1) << n;
            EXPECT_GE(ids.front(), 0) << n;
            EXPECT_NAMES(
                    index->assign(n, queries.data(), ids.data()),
                    "x[" + std::to_string(n - 1) + "][0] is not finite");
        }
    }
}

/// No query is near a vector with a NaN, and no row is added there.
TEST_F(Queries, AmongVectorsWithANaN) {
    Floats vectors(x.begin(), x.begin() + 20 * kDim);
    vectors[7 * kDim + 3] = NAN;
    faiss::IndexFlatL2 stock(kDim);
    IndexFlatL2 ours(kDim);
    stock.add(20, vectors.data());
    ours.add(20, vectors.data());
    for (const int64_t n : {3, 60, 900}) {
        std::vector<int64_t> ids(static_cast<size_t>(n));
        std::vector<int64_t> expected(ids);
        Floats distances(ids.size());
        stock.search(n, x.data(), 1, distances.data(), expected.data());
        ours.search(n, x.data(), 1, distances.data(), ids.data());
        EXPECT_EQ(ids, expected);
        IndexIVFFlat index(&ours, kDim, 20);
        index.is_trained = true;
        index.add(n, x.data());
        EXPECT_EQ(stored(index), n);
        EXPECT_EQ(index.invlists->list_size(7), 0u);
    }
}

TEST_F(Queries, OfAnEmptyIndexAreAnsweredByMinusOne) {
    const IndexFlatL2 empty(kDim);
    for (const int64_t n : {3, 900}) {
        std::vector<int64_t> ids(static_cast<size_t>(n), 7);
        empty.assign(n, x.data(), ids.data());
        EXPECT_EQ(std::count(ids.begin(), ids.end(), -1), n);
    }
}

/// Errors are FAISS's, and a device that there is not is one.
TEST_F(Queries, OnADeviceThatThereIsNot) {
    std::vector<int64_t> ids(kPoints);
    Floats distances(kPoints);
    for (const char* device : {"cuda:77", "abacus"}) {
        l2.device = device;
        EXPECT_NAMES(
                l2.search(kPoints, x.data(), 1, distances.data(), ids.data()),
                std::string("device=") + device);
        EXPECT_NAMES(l2.assign(kPoints, x.data(), ids.data()), std::string("device=") + device);
        const IndexPointer index =
                faiss_flash::index_factory(kDim, "IVF16,PQ8x4np", faiss::METRIC_L2, device);
        EXPECT_NAMES(index->train(kPoints, x.data()), std::string("device=") + device);
        EXPECT_NAMES(train(*index, kPoints, x.data(), device), std::string("device=") + device);
        train(*index, kPoints, x.data());
        EXPECT_NAMES(
                add(*index, kPoints, x.data(), nullptr, device), std::string("device=") + device);
    }
}

} // namespace
} // namespace faiss_flash
