/// train(index, x) beside index.train(x) for the kinds of index that have a coarse quantizer.
#include <faiss_flash/train.h>

#include <support/data.h>

#include <faiss/IVFlib.h>
#include <faiss/IndexFlat.h>
#include <faiss/IndexIDMap.h>
#include <faiss/IndexIVF.h>
#include <faiss/IndexRefine.h>
#include <faiss/index_factory.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <numeric>

namespace faiss_flash {
namespace {

using test::Floats;

constexpr int kDim = 32;
constexpr int64_t kPoints = 6000;
constexpr int64_t kQueries = 300;
constexpr int64_t kNeighbours = 10;

faiss::IndexIVF& inner_ivf(faiss::Index& index) {
    if (auto* refining = dynamic_cast<faiss::IndexRefine*>(&index)) {
        return inner_ivf(*refining->base_index);
    }
    return *faiss::ivflib::extract_index_ivf(&index);
}

/// Share of the true neighbours found.
double recall(faiss::Index& index, const Floats& base, const Floats& queries) {
    faiss::IndexFlat exact(kDim, index.metric_type);
    exact.add(kPoints, base.data());
    std::vector<int64_t> truth(kQueries * kNeighbours);
    std::vector<int64_t> found(truth);
    Floats distances(truth.size());
    exact.search(kQueries, queries.data(), kNeighbours, distances.data(), truth.data());
    inner_ivf(index).nprobe = 8;
    if (dynamic_cast<faiss::IndexIDMap*>(&index)) {
        std::vector<int64_t> ids(kPoints);
        std::iota(ids.begin(), ids.end(), 0);
        index.add_with_ids(kPoints, base.data(), ids.data());
    } else {
        index.add(kPoints, base.data());
    }
    index.search(kQueries, queries.data(), kNeighbours, distances.data(), found.data());
    int64_t hits = 0;
    for (int64_t q = 0; q < kQueries; q++) {
        const auto begin = found.begin() + q * kNeighbours;
        for (int64_t i = 0; i < kNeighbours; i++) {
            const int64_t id = truth[static_cast<size_t>(q * kNeighbours + i)];
            hits += std::find(begin, begin + kNeighbours, id) != begin + kNeighbours;
        }
    }
    return static_cast<double>(hits) / static_cast<double>(truth.size());
}

struct Train : testing::TestWithParam<std::tuple<std::string, faiss::MetricType>> {};

TEST_P(Train, RecallIsThatOfStock) {
    const auto& [key, metric] = GetParam();
    const Floats base = test::mixture(kPoints, kDim, 100, 1, 0.7f);
    const Floats queries = test::mixture(kQueries, kDim, 100, 1, 0.7f);
    const std::unique_ptr<faiss::Index> ours(faiss::index_factory(kDim, key.c_str(), metric));
    const std::unique_ptr<faiss::Index> stock(faiss::index_factory(kDim, key.c_str(), metric));
    train(*ours, kPoints, base.data());
    stock->train(kPoints, base.data());
    EXPECT_TRUE(ours->is_trained);
    const faiss::IndexIVF& ivf = inner_ivf(*ours);
    EXPECT_EQ(ivf.quantizer->ntotal, static_cast<int64_t>(ivf.nlist));
    const double expected = recall(*stock, base, queries);
    EXPECT_GT(expected, 0.3);
    EXPECT_NEAR(recall(*ours, base, queries), expected, 0.005);
}

INSTANTIATE_TEST_SUITE_P(
        Keys,
        Train,
        testing::Combine(
                testing::Values(
                        "IVF64,Flat",
                        "PCA16,IVF64,Flat",
                        "IVF64,PQ8x4np",
                        "IVF64,SQ8",
                        "IVF64_HNSW16,Flat",
                        "PCA16,IVF64,PQ8x4np",
                        "IDMap,IVF64,Flat",
                        "IVF64,PQ8x4np,RFlat"),
                testing::Values(faiss::METRIC_L2)));
INSTANTIATE_TEST_SUITE_P(
        InnerProduct,
        Train,
        testing::Combine(
                testing::Values("IVF64,Flat", "IVF64_HNSW16,Flat"),
                testing::Values(faiss::METRIC_INNER_PRODUCT)));

TEST(Train, IndexesWithoutACoarseQuantizerGoToStock) {
    const Floats x = test::normal(1000, kDim, 1);
    for (const char* key : {"PQ4x4np", "SQ8", "Flat"}) {
        const std::unique_ptr<faiss::Index> index(faiss::index_factory(kDim, key));
        train(*index, 1000, x.data());
        EXPECT_TRUE(index->is_trained) << key;
    }
}

TEST(Train, ClusteringIndexIsUsedAndFilled) {
    const Floats x = test::normal(3000, kDim, 1);
    const std::unique_ptr<faiss::Index> index(faiss::index_factory(kDim, "IVF32,Flat"));
    auto* ivf = faiss::ivflib::extract_index_ivf(index.get());
    faiss::IndexFlatL2 assigner(kDim);
    ivf->clustering_index = &assigner;
    train(*index, 3000, x.data());
    EXPECT_EQ(assigner.ntotal, 32);
    const auto& quantizer = dynamic_cast<faiss::IndexFlat&>(*ivf->quantizer);
    EXPECT_TRUE(std::equal(quantizer.get_xb(), quantizer.get_xb() + 32 * kDim, assigner.get_xb()));
}

TEST(Train, FilledQuantizerIsKept) {
    const Floats x = test::normal(3000, kDim, 1);
    const std::unique_ptr<faiss::Index> index(faiss::index_factory(kDim, "IVF32,Flat"));
    auto* ivf = faiss::ivflib::extract_index_ivf(index.get());
    ivf->quantizer->add(32, x.data());
    train(*index, 3000, x.data());
    EXPECT_TRUE(index->is_trained);
    Floats first(kDim);
    ivf->quantizer->reconstruct(0, first.data());
    EXPECT_TRUE(std::equal(first.begin(), first.end(), x.begin()));
}

} // namespace
} // namespace faiss_flash
