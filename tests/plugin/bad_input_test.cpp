/// Bad input: a faiss::FaissException that names the argument and its value, and nothing changed.
#include <faiss_flash/Clustering.h>
#include <faiss_flash/IndexIVFFlat.h>
#include <faiss_flash/train.h>

#include <support/data.h>

#include <faiss/IndexFlat.h>
#include <faiss/IndexIVFPQ.h>
#include <faiss/IndexScalarQuantizer.h>
#include <faiss/impl/FaissException.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <functional>
#include <limits>

namespace faiss_flash {
namespace {

using test::Floats;

/// What train() is called with; a test spoils one thing.
struct Call {
    Floats x = test::normal(300, 8, 1);
    Floats weights = Floats(300, 1.0f);
    Clustering clustering{8, 5};
    faiss::IndexFlatL2 index{8};
    faiss::IndexFlatL2 other_dimension{7};
    faiss::Index* target = &index;
    int64_t n = 300;
    const float* data = x.data();
    const float* weight_data = nullptr;
};

struct Bad {
    std::string name;
    std::string expected;
    std::function<void(Call&)> spoil;
};

void PrintTo(const Bad& bad, std::ostream* out) {
    *out << bad.name;
}

struct BadInput : testing::TestWithParam<Bad> {};

TEST_P(BadInput, IsNamedAndChangesNothing) {
    Call call;
    call.index.add(2, call.x.data());
    call.clustering.centroids.assign(call.x.begin(), call.x.begin() + 16);
    call.clustering.iteration_stats.push_back({1, 2, 3, 4, 5});
    GetParam().spoil(call);
    const Floats centroids = call.clustering.centroids;
    try {
        call.clustering.train(call.n, call.data, *call.target, call.weight_data);
        ADD_FAILURE() << "accepted";
    } catch (const faiss::FaissException& error) {
        EXPECT_NE(std::string(error.what()).find(GetParam().expected), std::string::npos)
                << error.what();
    }
    ASSERT_EQ(call.clustering.centroids.size(), centroids.size());
    EXPECT_EQ(
            std::memcmp(
                    call.clustering.centroids.data(),
                    centroids.data(),
                    centroids.size() * sizeof(float)),
            0);
    EXPECT_EQ(call.clustering.iteration_stats.size(), 1u);
    EXPECT_EQ(call.index.ntotal, 2);
    EXPECT_TRUE(std::equal(call.index.get_xb(), call.index.get_xb() + 16, call.x.begin()));
}

std::vector<Bad> bad_inputs() {
    return {
            {"n_below_k",
             "n=4) should be at least as large as number of clusters (k=5",
             [](Call& call) { call.n = 4; }},
            {"k_zero", "k=0", [](Call& call) { call.clustering.k = 0; }},
            {"index_dimension",
             "index.d=7 does not match the clustering's d=8",
             [](Call& call) { call.target = &call.other_dimension; }},
            {"null_x", "x is null with n=300", [](Call& call) { call.data = nullptr; }},
            {"nan", "x[3][4] is not finite", [](Call& call) { call.x[28] = NAN; }},
            {"inf", "x[299][7] is not finite", [](Call& call) { call.x[2399] = -INFINITY; }},
            {"niter_negative", "niter=-1", [](Call& call) { call.clustering.niter = -1; }},
            {"nredo_zero", "nredo=0", [](Call& call) { call.clustering.nredo = 0; }},
            {"nredo_negative", "nredo=-2", [](Call& call) { call.clustering.nredo = -2; }},
            {"max_points_zero",
             "max_points_per_centroid=0",
             [](Call& call) { call.clustering.max_points_per_centroid = 0; }},
            {"negative_weight",
             "weights[17]=-1",
             [](Call& call) {
                 call.weights[17] = -1;
                 call.weight_data = call.weights.data();
             }},
            {"nan_weight",
             "weights[0]=nan",
             [](Call& call) {
                 call.weights[0] = NAN;
                 call.weight_data = call.weights.data();
             }},
            {"all_weights_zero",
             "weights are all 0",
             [](Call& call) {
                 call.weights.assign(300, 0.0f);
                 call.weight_data = call.weights.data();
             }},
            {"ragged_centroids",
             "size of provided input centroids (17) not a multiple of dimension (d=8)",
             [](Call& call) { call.clustering.centroids.push_back(1); }},
            {"nan_centroid",
             "initial_centroids[1][2]",
             [](Call& call) { call.clustering.centroids[10] = NAN; }},
            {"points_overflow",
             "overflow",
             [](Call& call) { call.n = std::numeric_limits<int64_t>::max() / 16; }},
            {"k_overflow",
             "k=4611686018427387904",
             [](Call& call) {
                 call.n = std::numeric_limits<int64_t>::max() / 64;
                 call.clustering.k = size_t{1} << 62;
             }},
    };
}

INSTANTIATE_TEST_SUITE_P(Cases, BadInput, testing::ValuesIn(bad_inputs()), [](const auto& tested) {
    return tested.param.name;
});

TEST(BadInput, CodecDimension) {
    const Floats x = test::normal(300, 8, 1);
    faiss::IndexScalarQuantizer codec(7, faiss::ScalarQuantizer::QT_fp16);
    Clustering clustering(8, 5);
    faiss::IndexFlatL2 index(8);
    try {
        clustering.train_encoded(300, reinterpret_cast<const uint8_t*>(x.data()), &codec, index);
        ADD_FAILURE() << "accepted";
    } catch (const faiss::FaissException& error) {
        EXPECT_NE(std::string(error.what()).find("codec.d=7"), std::string::npos) << error.what();
    }
}

/// Surplus initial centroids crash stock FAISS >= 1.14; here they are dropped, as before 1.14.
TEST(BadInput, SurplusInitialCentroidsAreDropped) {
    const Floats x = test::normal(300, 8, 1);
    Clustering clustering(8, 5);
    clustering.frozen_centroids = true;
    clustering.centroids.assign(x.begin(), x.begin() + 9 * 8);
    faiss::IndexFlatL2 index(8);
    clustering.train(300, x.data(), index);
    EXPECT_EQ(clustering.centroids, Floats(x.begin(), x.begin() + 5 * 8));
}

/// A squared 1e25 is beyond float32: stock FAISS dies here.
TEST(BadInput, HugeValuesAreClustered) {
    Floats x = test::mixture(300, 8, 5, 1, 0.01f);
    for (float& value : x) {
        value *= 1e25f;
    }
    Clustering clustering(8, 5);
    faiss::IndexFlatL2 index(8);
    clustering.train(300, x.data(), index);
    for (const float value : clustering.centroids) {
        EXPECT_TRUE(std::isfinite(value));
    }
}

struct FailingIvf : testing::Test {
    Floats x = test::normal(500, 8, 1);
    faiss::IndexFlatL2 quantizer{8};
};

TEST_F(FailingIvf, TrainingLeavesTheQuantizerAsItWas) {
    quantizer.add(3, x.data());
    IndexIVFFlat index(&quantizer, 8, 16);
    x[1000] = NAN;
    EXPECT_THROW(index.train(500, x.data()), faiss::FaissException);
    EXPECT_EQ(quantizer.ntotal, 3);
    EXPECT_FALSE(index.is_trained);
    EXPECT_THROW(index.train(5, x.data()), faiss::FaissException);
    EXPECT_THROW(index.train(500, nullptr), faiss::FaissException);
    EXPECT_THROW(train(index, 500, nullptr), faiss::FaissException);
    EXPECT_EQ(quantizer.ntotal, 3);
}

/// The quantizer trains, the product quantizer cannot: 200 vectors for 256 codewords.
TEST_F(FailingIvf, LaterFailureRollsTheQuantizerBack) {
    quantizer.add(3, x.data());
    faiss::IndexIVFPQ index(&quantizer, 8, 16, 4, 8);
    EXPECT_THROW(train(index, 200, x.data()), faiss::FaissException);
    EXPECT_EQ(quantizer.ntotal, 3);
    EXPECT_TRUE(std::equal(x.begin(), x.begin() + 24, quantizer.get_xb()));
    EXPECT_FALSE(index.is_trained);
}

TEST_F(FailingIvf, AddRejectsNaNAndAddsNothing) {
    IndexIVFFlat index(&quantizer, 8, 16);
    index.train(500, x.data());
    x[8 * 77 + 1] = NAN;
    try {
        index.add(500, x.data());
        ADD_FAILURE() << "accepted";
    } catch (const faiss::FaissException& error) {
        EXPECT_NE(std::string(error.what()).find("x[77][1]"), std::string::npos);
    }
    EXPECT_EQ(index.ntotal, 0);
    EXPECT_THROW(index.add(5, nullptr), faiss::FaissException);
}

TEST_F(FailingIvf, AddBeforeTraining) {
    IndexIVFFlat index(&quantizer, 8, 16);
    EXPECT_THROW(index.add(500, x.data()), faiss::FaissException);
    EXPECT_EQ(index.ntotal, 0);
}

} // namespace
} // namespace faiss_flash
