/// Whatever FAISS's factory can make and train, train() trains as well: as it is, and accelerated.
#include <faiss_flash/index_factory.h>
#include <faiss_flash/train.h>

#include <support/data.h>

#include <faiss/IVFlib.h>
#include <faiss/IndexAdditiveQuantizer.h>
#include <faiss/IndexAdditiveQuantizerFastScan.h>
#include <faiss/IndexFlat.h>
#include <faiss/IndexIVFAdditiveQuantizer.h>
#include <faiss/IndexIVFAdditiveQuantizerFastScan.h>
#include <faiss/IndexIVFPQ.h>
#include <faiss/IndexPQ.h>
#include <faiss/IndexPreTransform.h>
#include <faiss/IndexRefine.h>
#include <faiss/MetaIndexes.h>
#include <faiss/VectorTransform.h>
#include <faiss/impl/LocalSearchQuantizer.h>
#include <faiss/impl/ProductAdditiveQuantizer.h>
#include <faiss/index_factory.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <memory>
#include <numeric>
#include <string>

namespace faiss_flash {
namespace {

using test::Floats;
using IndexPointer = std::unique_ptr<faiss::Index>;

constexpr int kDim = 16;
constexpr int64_t kPoints = 1000;
constexpr int64_t kQueries = 200;
constexpr int64_t kNeighbours = 10;

struct Case {
    std::string key;
    faiss::MetricType metric;
};

void PrintTo(const Case& tested, std::ostream* out) {
    *out << tested.key << (tested.metric == faiss::METRIC_L2 ? " L2" : " inner product");
}

std::vector<Case> cases(const std::vector<std::string>& keys, faiss::MetricType metric) {
    std::vector<Case> result;
    for (const std::string& key : keys) {
        result.push_back({key, metric});
    }
    return result;
}

const Floats& points() {
    static const Floats x = test::mixture(kPoints, kDim, 60, 1, 0.7f);
    return x;
}

void shorten(faiss::AdditiveQuantizer* quantizer) {
    if (auto* product = dynamic_cast<faiss::ProductAdditiveQuantizer*>(quantizer)) {
        std::for_each(product->quantizers.begin(), product->quantizers.end(), [](auto* part) {
            shorten(part);
        });
    } else if (auto* searching = dynamic_cast<faiss::LocalSearchQuantizer*>(quantizer)) {
        searching->train_iters = 3;
    }
}

/// Some of FAISS's trainings take seconds: less of them will do.
void shorten(faiss::Index& index) {
    static faiss::PolysemousTraining polysemous = [] {
        faiss::PolysemousTraining short_one;
        short_one.n_iter = 1000;
        short_one.n_redo = 1;
        return short_one;
    }();
    if (auto* refining = dynamic_cast<faiss::IndexRefine*>(&index)) {
        shorten(*refining->base_index);
    } else if (auto* transforming = dynamic_cast<faiss::IndexPreTransform*>(&index)) {
        for (faiss::VectorTransform* transform : transforming->chain) {
            if (auto* opq = dynamic_cast<faiss::OPQMatrix*>(transform)) {
                opq->niter = 3;
                opq->niter_pq_0 = 5;
            }
        }
        shorten(*transforming->index);
    } else if (auto* pq = dynamic_cast<faiss::IndexPQ*>(&index)) {
        pq->polysemous_training = polysemous;
    } else if (auto* ivfpq = dynamic_cast<faiss::IndexIVFPQ*>(&index)) {
        ivfpq->polysemous_training = &polysemous;
    } else if (auto* additive = dynamic_cast<faiss::IndexAdditiveQuantizer*>(&index)) {
        shorten(additive->aq);
    } else if (auto* scanned = dynamic_cast<faiss::IndexAdditiveQuantizerFastScan*>(&index)) {
        shorten(scanned->aq);
    } else if (auto* lists = dynamic_cast<faiss::IndexIVFAdditiveQuantizer*>(&index)) {
        shorten(lists->aq);
    } else if (auto* scan = dynamic_cast<faiss::IndexIVFAdditiveQuantizerFastScan*>(&index)) {
        shorten(scan->aq);
    }
}

/// The ways to a trained index; each must be as good as the first.
const std::vector<std::pair<std::string, std::function<IndexPointer(const Case&)>>>& ways() {
    const auto stock = [](const Case& tested) {
        IndexPointer index(faiss::index_factory(kDim, tested.key.c_str(), tested.metric));
        shorten(*index);
        return index;
    };
    const auto ours = [](const Case& tested) {
        auto index = faiss_flash::index_factory(kDim, tested.key.c_str(), tested.metric);
        shorten(*index);
        return index;
    };
    static const std::vector<std::pair<std::string, std::function<IndexPointer(const Case&)>>> all{
            {"FAISS's own training",
             [=](const Case& tested) {
                 auto index = stock(tested);
                 index->train(kPoints, points().data());
                 return index;
             }},
            {"train() of an index of FAISS's",
             [=](const Case& tested) {
                 auto index = stock(tested);
                 train(*index, kPoints, points().data());
                 return index;
             }},
            {"the own training of an accelerated index",
             [=](const Case& tested) {
                 auto index = ours(tested);
                 index->train(kPoints, points().data());
                 return index;
             }},
            {"train() of an accelerated index",
             [=](const Case& tested) {
                 auto index = ours(tested);
                 train(*index, kPoints, points().data());
                 return index;
             }},
    };
    return all;
}

void fill(faiss::Index& index, const std::string& key) {
    std::vector<int64_t> ids(kPoints);
    std::iota(ids.begin(), ids.end(), 0);
    const bool named = key.find("IDMap") != std::string::npos;
    add(index, kPoints, points().data(), named ? ids.data() : nullptr);
    EXPECT_EQ(index.ntotal, kPoints);
}

/// Share of the true neighbours found.
double recall(faiss::Index& index, faiss::MetricType metric) {
    const Floats queries = test::mixture(kQueries, kDim, 60, 1, 0.7f);
    faiss::IndexFlat exact(kDim, metric);
    exact.add(kPoints, points().data());
    std::vector<int64_t> truth(kQueries * kNeighbours);
    std::vector<int64_t> found(truth);
    Floats distances(truth.size());
    exact.search(kQueries, queries.data(), kNeighbours, distances.data(), truth.data());
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

/// Compares each way with FAISS's own by a figure of what it made.
template <class Figure>
void expect_alike(const Case& tested, double tolerance, const Figure& figure) {
    double expected = 0;
    for (const auto& [way, trained] : ways()) {
        SCOPED_TRACE(way);
        const bool accelerated = way.find("accelerated") != std::string::npos;
        if (accelerated && tested.key.find("IVF") == std::string::npos) {
            continue; // the same index
        }
        const IndexPointer index = trained(tested);
        ASSERT_TRUE(index->is_trained);
        const double got = figure(*index);
        if (expected == 0) {
            expected = got;
            ASSERT_GT(expected, 0);
        }
        EXPECT_NEAR(got, expected, tolerance * expected);
    }
}

struct Searched : testing::TestWithParam<Case> {};

TEST_P(Searched, FindsAsMuchAsStock) {
    expect_alike(GetParam(), 0.12, [&](faiss::Index& index) {
        fill(index, GetParam().key);
        return recall(index, GetParam().metric);
    });
}

/// Indexes that cannot be searched, or not be filled.
struct Codec : testing::TestWithParam<Case> {};

TEST_P(Codec, LosesAsMuchAsStock) {
    expect_alike(GetParam(), 0.1, [&](faiss::Index& index) {
        std::vector<uint8_t> codes(kPoints * index.sa_code_size());
        Floats decoded(points().size());
        index.sa_encode(kPoints, points().data(), codes.data());
        index.sa_decode(kPoints, codes.data(), decoded.data());
        double sum = 0;
        for (size_t i = 0; i < decoded.size(); i++) {
            sum += std::pow(static_cast<double>(points()[i]) - decoded[i], 2);
        }
        return sum;
    });
}

/// Indexes whose vectors are their codebooks'.
struct Coarse : testing::TestWithParam<Case> {};

TEST_P(Coarse, IsAsNearAsStock) {
    expect_alike(GetParam(), 0.05, [](faiss::Index& index) {
        Floats distances(kPoints);
        std::vector<int64_t> ids(kPoints);
        index.search(kPoints, points().data(), 1, distances.data(), ids.data());
        return std::accumulate(distances.begin(), distances.end(), 0.0);
    });
}

std::string name(const testing::TestParamInfo<Case>& info) {
    std::string result;
    for (const char c : info.param.key) {
        result += std::isalnum(static_cast<unsigned char>(c)) ? c : '_';
    }
    return result + "_" + std::to_string(info.index);
}

#define FAISS_FLASH_KEYS(suite, kind, metric, ...) \
    INSTANTIATE_TEST_SUITE_P(                      \
            kind, suite, testing::ValuesIn(cases({__VA_ARGS__}, faiss::metric)), name)

// clang-format off
FAISS_FLASH_KEYS(Searched, Flat, METRIC_L2,
        "Flat", "LSH", "LSHrt", "ITQ8,LSH", "ITQ,LSHt", "PCA8,Flat", "IDMap,Flat", "IDMap2,Flat",
        "SQ4", "SQ6", "SQ8", "SQfp16");
FAISS_FLASH_KEYS(Searched, Graph, METRIC_L2,
        "HNSW", "HNSW8", "HNSW8,Flat", "HNSW8_SQ8", "HNSW8_PQ8np", "HNSW8_16+PQ8", "HNSW8_2x3+PQ8",
        "NSG8_PQ8np");
FAISS_FLASH_KEYS(Searched, Codes, METRIC_L2,
        "PQ8x4", "PQ8x4np", "PQ4x6np", "PQ8np", "PQ8x4fs", "RR,PQ8x4np",
        "PCAWR8,PQ8x4np", "Pad32,PQ16x4np", "OPQ8,PQ8x4np", "PQ8x4fs,RFlat",
        "PQ8x4np,Refine(PQ16x4np)");
FAISS_FLASH_KEYS(Searched, Additive, METRIC_L2,
        "RQ3x4", "RQ2x3_1x4_Nqint8", "RQ4x4_Nfloat", "RQ4x4_Ncqint8", "RQ4x4_Nlsq2x4",
        "LSQ2x4", "LSQ2x4_Nqint4", "PRQ2x2x4", "PLSQ2x2x4", "RQ4x4fs_32_Nrq2x4",
        "LSQ4x4fs_32_Nrq2x4", "PRQ2x2x4fs_32_Nlsq2x4", "PLSQ2x2x4fs_32_Nrq2x4");
FAISS_FLASH_KEYS(Searched, Ivf, METRIC_L2,
        "IVF16,Flat", "IVF16,FlatDedup", "IVF16,SQ8", "IVF16,SQ6", "IVF16,SQ4", "IVF16,SQfp16",
        "IVF16,PQ8x4", "IVF16,PQ8x4np", "IVF16,PQ4np", "IVF16,PQ4+4", "IVF16,PQ8x4fs",
        "IVF16,PQ8x4fsr", "IVF16,PQ8x4fsr_64", "IVF16,RQ2x4", "IVF16,RQ2x4_Nqint8",
        "IVF16,RQ2x4_Ncqint8", "IVF16,LSQ2x4", "IVF16,PRQ2x2x4", "IVF16,PLSQ2x2x4",
        "IVF16,RQ4x4fs_32_Nrq2x4", "IVF16,RQ4x4fsr_32_Nrq2x4", "IVF16,LSQ4x4fsr_32_Nrq2x4",
        "IVF16,PRQ2x2x4fsr_32_Nrq2x4", "IVF16,PLSQ2x2x4fs_32_Nrq2x4");
FAISS_FLASH_KEYS(Searched, Hash, METRIC_L2,
        "IVF16,ITQ,SH", "IVF16,ITQ8,SH1.5", "IVF16,PCA8,SH2.5c", "IVF16,PCAR8,SH2.5g",
        "IVF16,PCAR8,SH2.5m");
FAISS_FLASH_KEYS(Searched, Quantizers, METRIC_L2,
        "IVF16_HNSW,Flat", "IVF16_HNSW8,PQ8x4np", "IVF16_HNSW8,PQ8x4fsr", "IVF16_HNSW8,FlatDedup",
        "IVF200_NSG8,Flat", "IVF200_NSG8,PQ8x4np",
        "IMI2x2,Flat", "IMI2x2,FlatDedup", "IMI2x2,SQ8", "IMI2x2,PQ8x4np", "IMI2x2,PQ8x4fsr",
        "IMI2x2,PQ4+4", "IMI2x2,RQ2x4", "IMI2x2,PCA8,SH2.5c",
        "IVF16(RCQ2x2),Flat", "IVF16(RCQ2x2),FlatDedup", "IVF16(RCQ2x2),SQ8",
        "IVF16(RCQ2x2),PQ8x4np", "IVF16(RCQ2x2),PQ4+4", "IVF16(RCQ2x2),PQ8x4fsr",
        "IVF16(RCQ2x2),RQ2x4", "IVF64(RCQ1x4_1x2),PQ8x4np",
        "IVF16(Flat),PQ8x4np", "IVF16(SQ8),Flat", "IVF16(SQ8),PQ8x4np", "IVF16(PQ8x3np),Flat",
        "IVF16(PQ8x3np),PQ8x4np", "IVF16(PQ8x4fs),Flat", "IVF16(LSH),Flat", "IVF16(HNSW8),PQ8x4np",
        "IVF16(IVF4,Flat),Flat", "IVF16(PCA8,Flat),Flat", "IVF16(PCA8,Flat),PQ8x4np");
FAISS_FLASH_KEYS(Searched, Around, METRIC_L2,
        "PCA8,IVF16,Flat", "PCAR8,IVF16,PQ8x4np", "PCAW8,IVF16,SQ8", "RR8,IVF16,Flat",
        "L2norm,IVF16,Flat", "L2Norm,PCA8,L2norm,IVF16,PQ8x4np", "Pad32,IVF16,PQ16x4fs",
        "OPQ8_8,IVF16,PQ8x4np", "OPQ8,IVF16_HNSW8,PQ8x4fsr", "OPQ8,IVF16(RCQ2x2),PQ8x4np",
        "IDMap,IVF16,Flat", "IDMap2,IVF16,PQ8x4np", "IVF16,Flat,IDMap", "PCA8,IDMap,IVF16,Flat",
        "IDMap,PCA8,IVF16,Flat", "IVF16,PQ8x4np,RFlat", "IVF16,PQ8x4fs,RFlat", "IVF16,PQ8x4np,Refine(SQ8)",
        "PCA8,IVF16,PQ8x4np,RFlat", "OPQ8,IVF16,PQ8x4fs,Refine(SQfp16)");
FAISS_FLASH_KEYS(Searched, InnerProduct, METRIC_INNER_PRODUCT,
        "Flat", "PQ8x4np", "PQ8x4fs", "RQ4x4", "LSQ2x4", "HNSW8", "IVF16,Flat", "IVF16,FlatDedup",
        "IVF16,SQ8", "IVF16,PQ8x4np", "IVF16,PQ8x4fs", "IVF16,PQ8x4fsr", "IVF16,RQ2x4",
        "IVF16_HNSW8,Flat", "IVF16_HNSW8,PQ8x4np", "IVF16(RCQ2x2),Flat", "IVF16(RCQ2x2),SQ8",
        "PCA8,IVF16,Flat", "IDMap,IVF16,Flat", "IVF16,PQ8x4np,RFlat");
FAISS_FLASH_KEYS(Codec, Codes, METRIC_L2,
        "Residual16,PQ8x4", "Residual2x2,PQ8x4", "MinMax,SQ8", "MinMaxFP16,SQ4", "MinMax,PQ8x4np",
        "MinMax,IVF16,SQ8", "MinMax,IVF16,PQ8x4np", "ZnLattice4x2_4", "IVF16(RCQ2x2),PQ8x4np");
FAISS_FLASH_KEYS(Coarse, Quantizers, METRIC_L2, "RCQ2x3", "RCQ1x4_1x2", "LSCQ2x3");
// clang-format on

} // namespace
} // namespace faiss_flash
