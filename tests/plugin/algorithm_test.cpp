/// The `algorithm` of clusterings and indexes: e-means where it is asked for, else Lloyd's.
#include <faiss_flash/Clustering.h>
#include <faiss_flash/IndexFlat.h>
#include <faiss_flash/IndexIVFFlat.h>
#include <faiss_flash/kmeans.h>
#include <faiss_flash/train.h>

#include <support/data.h>
#include <support/written.h>

#include <faiss/IVFlib.h>
#include <faiss/IndexFlat.h>
#include <faiss/IndexIVF.h>
#include <faiss/impl/FaissException.h>
#include <faiss/index_factory.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace faiss_flash {
namespace {

using test::Floats;
using test::written;
using IndexPointer = std::unique_ptr<faiss::Index>;

constexpr int kDim = 32;
constexpr int kLists = 100;
constexpr int64_t kPoints = 20000;
constexpr char kVariable[] = "FAISS_FLASH_ALGORITHM";

const Floats& points() {
    static const Floats x = test::mixture(kPoints, kDim, 300, 1, 0.5f);
    return x;
}

/// Of the engine alone.
Floats engine_centroids(Algorithm algorithm, int niter) {
    KMeansInput input;
    input.points = VectorView::of(points().data(), kPoints, kDim);
    KMeansOptions options;
    options.algorithm = algorithm;
    options.niter = niter;
    options.early_stop_threshold.reset();
    return kmeans(input, kLists, options).centroids;
}

Floats vectors_of(const faiss::Index& index) {
    Floats vectors(static_cast<size_t>(index.ntotal * index.d));
    index.reconstruct_n(0, index.ntotal, vectors.data());
    return vectors;
}

double objective(const Floats& centroids) {
    faiss::IndexFlatL2 index(kDim);
    index.add(kLists, centroids.data());
    Floats distances(kPoints);
    std::vector<int64_t> ids(kPoints);
    index.search(kPoints, points().data(), 1, distances.data(), ids.data());
    double sum = 0;
    for (const float distance : distances) {
        sum += distance;
    }
    return sum;
}

/// Something that trains kLists centroids in at most 25 iterations; it is made with an algorithm's
/// name, or with none where it is "".
struct Way {
    const char* name;
    std::function<Floats(const std::string&)> centroids;
};

void PrintTo(const Way& way, std::ostream* out) {
    *out << way.name;
}

template <class Object>
void choose(Object& object, const std::string& algorithm) {
    if (!algorithm.empty()) {
        object.algorithm = algorithm;
    }
}

Floats by_clustering(const std::string& algorithm) {
    Clustering clustering(kDim, kLists);
    choose(clustering, algorithm);
    faiss::IndexFlatL2 index(kDim);
    clustering.train(kPoints, points().data(), index);
    const bool e_means = algorithm == "e_means";
    EXPECT_TRUE(!e_means || clustering.iteration_stats.size() == 3);
    return clustering.centroids;
}

Floats by_flat(const std::string& algorithm) {
    IndexFlatL2 index(kDim, kLists);
    choose(index, algorithm);
    index.train(kPoints, points().data());
    return vectors_of(index);
}

Floats by_ivf(const std::string& algorithm) {
    faiss::IndexFlatL2 quantizer(kDim);
    IndexIVFFlat index(&quantizer, kDim, kLists);
    choose(index, algorithm);
    index.cp.niter = 25;
    index.train(kPoints, points().data());
    return vectors_of(quantizer);
}

Floats by_train(const std::string& key, const std::string& algorithm) {
    const IndexPointer index(faiss::index_factory(kDim, key.c_str()));
    faiss::IndexIVF& ivf = *faiss::ivflib::extract_index_ivf(index.get());
    ivf.cp.niter = 25;
    if (algorithm.empty()) {
        train(*index, kPoints, points().data());
    } else {
        train(*index, kPoints, points().data(), "auto", algorithm);
    }
    return vectors_of(*ivf.quantizer);
}

struct AlgorithmOf : testing::TestWithParam<Way> {
    void SetUp() override {
        if (std::getenv(kVariable)) {
            GTEST_SKIP() << kVariable << " is set";
        }
    }
};

TEST_P(AlgorithmOf, IsLloydsUnlessEMeansIsAskedFor) {
    const auto& centroids = GetParam().centroids;
    const Floats lloyd = engine_centroids(Algorithm::lloyd, 25);
    const Floats e_means = engine_centroids(Algorithm::e_means, 3);
    for (const char* name : {"", "default", "lloyd"}) {
        EXPECT_EQ(centroids(name), lloyd) << name;
    }
    EXPECT_EQ(centroids("e_means"), e_means);
    EXPECT_LT(objective(e_means), 1.005 * objective(lloyd));
    setenv(kVariable, "e_means", 1);
    const Floats by_variable = centroids("");
    const Floats said_otherwise = centroids("lloyd");
    unsetenv(kVariable);
    EXPECT_EQ(by_variable, e_means);
    EXPECT_EQ(said_otherwise, lloyd);
}

TEST_P(AlgorithmOf, IsNamedWhereItIsNone) {
    const auto message_of = [](const std::string& name) {
        try {
            GetParam().centroids(name);
        } catch (const faiss::FaissException& error) {
            return std::string(error.what());
        }
        return std::string("no exception");
    };
    const std::string end = " is not one of default, lloyd, e_means";
    EXPECT_NE(message_of("Lloyd").find("algorithm=Lloyd" + end), std::string::npos);
    setenv(kVariable, "no", 1);
    const std::string by_variable = message_of("");
    unsetenv(kVariable);
    EXPECT_NE(by_variable.find(std::string(kVariable) + "=no" + end), std::string::npos);
}

INSTANTIATE_TEST_SUITE_P(
        Ways,
        AlgorithmOf,
        testing::Values(
                Way{"clustering", by_clustering},
                Way{"flat", by_flat},
                Way{"ivf", by_ivf},
                Way{"train", [](const auto& name) { return by_train("IVF100,Flat", name); }},
                Way{"map", [](const auto& name) { return by_train("IDMap,IVF100,SQ8", name); }}));

/// Nothing is trained, and the name is wrong all the same.
TEST(Algorithm, IsNamedForAnyIndex) {
    faiss::IndexFlatL2 index(kDim);
    EXPECT_THROW(train(index, kPoints, points().data(), "auto", "none"), faiss::FaissException);
}

TEST(Algorithm, CodebooksAreLloyds) {
    for (const char* key : {"PQ8np", "IMI2x4,Flat"}) {
        const IndexPointer lloyd(faiss::index_factory(kDim, key));
        const IndexPointer e_means(faiss::index_factory(kDim, key));
        train(*lloyd, kPoints, points().data(), "auto", "lloyd");
        train(*e_means, kPoints, points().data(), "auto", "e_means");
        EXPECT_EQ(written(*lloyd), written(*e_means)) << key;
    }
}

TEST(Algorithm, OfATrainingThatFailsLeavesTheIndex) {
    const IndexPointer index(faiss::index_factory(kDim, "IVF64,PQ8np"));
    const auto before = written(*index);
    EXPECT_THROW(train(*index, 100, points().data(), "auto", "e_means"), faiss::FaissException);
    EXPECT_EQ(written(*index), before);
}

} // namespace
} // namespace faiss_flash
