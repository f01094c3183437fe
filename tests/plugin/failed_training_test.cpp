/// A training that fails, wherever it does, leaves nothing of itself in any part of the index.
#include <faiss_flash/Clustering.h>
#include <faiss_flash/IndexIVFFlat.h>
#include <faiss_flash/index_factory.h>
#include <faiss_flash/train.h>

#include <support/data.h>
#include <support/written.h>

#include <faiss/IVFlib.h>
#include <faiss/IndexFlat.h>
#include <faiss/IndexHNSW.h>
#include <faiss/IndexIVFPQ.h>
#include <faiss/IndexIVFPQFastScan.h>
#include <faiss/IndexPreTransform.h>
#include <faiss/IndexRefine.h>
#include <faiss/IndexScalarQuantizer.h>
#include <faiss/VectorTransform.h>
#include <faiss/impl/AuxIndexStructures.h>
#include <faiss/impl/FaissException.h>
#include <faiss/index_factory.h>
#include <gtest/gtest.h>
#include <omp.h>

#include <memory>

namespace faiss_flash {
namespace {

using test::Floats;
using test::written;
using IndexPointer = std::unique_ptr<faiss::Index>;

constexpr int kDim = 8;
constexpr int64_t kEnough = 1200;
constexpr int64_t kTooFew = 300; // for the 512 codewords of what is trained last

IndexPointer made(const std::string& key) {
    return IndexPointer(faiss::index_factory(kDim, key.c_str()));
}

/// Graphs are the same from run to run with one thread only.
struct OneThread {
    const int before = omp_get_max_threads();
    OneThread() { omp_set_num_threads(1); }
    ~OneThread() { omp_set_num_threads(before); }
};

struct Part : testing::TestWithParam<const char*> {
    const OneThread one;
    const Floats x = test::mixture(kEnough, kDim, 30, 1, 0.7f);
    /// The part that is trained last has too few rows, when all of the others are done.
    const std::string key = std::string(GetParam()) + ",Refine(PQ4x9np)";
};

TEST_P(Part, OfAnUntrainedIndexIsAsItWas) {
    const IndexPointer index = made(key);
    const auto before = written(*index);
    EXPECT_THROW(train(*index, kTooFew, x.data()), faiss::FaissException);
    EXPECT_EQ(written(*index), before);
    train(*index, kEnough, x.data());
    const IndexPointer fresh = made(key);
    train(*fresh, kEnough, x.data());
    EXPECT_EQ(written(*index), written(*fresh));
}

TEST_P(Part, OfATrainedIndexIsAsItWas) {
    const IndexPointer index = made(key);
    train(*index, kEnough, x.data());
    const auto before = written(*index);
    EXPECT_THROW(train(*index, kTooFew, x.data() + 100 * kDim), faiss::FaissException);
    EXPECT_EQ(written(*index), before);
    EXPECT_TRUE(index->is_trained);
}

INSTANTIATE_TEST_SUITE_P(
        Keys,
        Part,
        testing::Values(
                "OPQ4,IVF16,PQ4x4np",
                "OPQ4_4,PQ4x4np",
                "PCA4,IVF16,Flat",
                "PCAWR4,SQ8",
                "ITQ4,LSHt",
                "RR4,PQ4x4np",
                "IDMap,IVF16,Flat",
                "PCA4,IDMap2,IVF16,SQ8",
                "IVF16,Flat",
                "IVF16,FlatDedup",
                "IVF16,SQ8",
                "IVF16,PQ4x4np",
                "IVF16,PQ4x4fsr",
                "IVF16,PQ2+2",
                "IVF16,RQ2x3",
                "IVF16,RQ2x3_Ncqint4",
                "IVF16,LSQ2x3",
                "IVF16,PRQ2x2x3",
                "IVF16,PLSQ2x2x3",
                "IVF16,RQ2x4fsr_32_Nrq2x4",
                "IVF16,ITQ4,SH1.5",
                "IVF16,PCA4,SH2.5c",
                "IVF16_HNSW8,Flat",
                "IVF16_HNSW8,PQ4x4np",
                "IMI2x2,PQ4x4np",
                "IVF16(RCQ2x2),PQ4x4np",
                "IVF16(SQ8),Flat",
                "IVF16(PQ4x4np),PQ4x4np",
                "IVF16(PCA4,Flat),Flat",
                "PQ4x4np",
                "PQ4x4fs",
                "SQ8",
                "RQ2x3",
                "LSQ2x3_Ncqint4",
                "PRQ2x2x3",
                "PLSQ2x2x3",
                "RQ2x4fs_32_Nrq2x4",
                "HNSW8_SQ8",
                "HNSW8_PQ4np",
                "Residual16,PQ4x4",
                "Residual2x2,PQ4x4"));

struct FailedTraining : testing::Test {
    const OneThread one;
    const Floats x = test::mixture(kEnough, kDim, 30, 1, 0.7f);
};

/// What files do not hold.
TEST_F(FailedTraining, LeavesNoTables) {
    for (const char* key : {"IVF16,PQ4x4np,Refine(PQ4x9np)", "IVF16,PQ4x4fsr,Refine(PQ4x9np)"}) {
        const IndexPointer index = made(key);
        auto& base = *dynamic_cast<faiss::IndexRefine&>(*index).base_index;
        base.verbose = false;
        EXPECT_THROW(train(*index, kTooFew, x.data()), faiss::FaissException);
        if (auto* ivfpq = dynamic_cast<faiss::IndexIVFPQ*>(&base)) {
            EXPECT_EQ(ivfpq->use_precomputed_table, 0);
            EXPECT_EQ(ivfpq->precomputed_table.size(), 0u);
        } else {
            auto& fast = dynamic_cast<faiss::IndexIVFPQFastScan&>(base);
            EXPECT_EQ(fast.use_precomputed_table, 0);
            EXPECT_EQ(fast.precomputed_table.size(), 0u);
        }
        EXPECT_FALSE(base.is_trained);
    }
}

TEST_F(FailedTraining, KeepsTablesThatWereThere) {
    const IndexPointer index = made("IVF16,PQ4x4np,Refine(PQ4x9np)");
    train(*index, kEnough, x.data());
    auto& ivfpq =
            dynamic_cast<faiss::IndexIVFPQ&>(*dynamic_cast<faiss::IndexRefine&>(*index).base_index);
    const auto& table = ivfpq.precomputed_table;
    const Floats before(table.data(), table.data() + table.size());
    ASSERT_FALSE(before.empty());
    EXPECT_THROW(train(*index, kTooFew, x.data() + 100 * kDim), faiss::FaissException);
    EXPECT_EQ(Floats(table.data(), table.data() + table.size()), before);
}

/// The graph of a quantizer that is no flat index is empty again, and the next training gives what
/// the first would have given.
TEST_F(FailedTraining, EmptiesTheGraphOfAQuantizer) {
    const IndexPointer index = made("IVF16_HNSW8,PQ4np");
    auto& quantizer = *faiss::ivflib::extract_index_ivf(index.get())->quantizer;
    EXPECT_THROW(train(*index, 200, x.data()), faiss::FaissException); // of 256 codewords
    EXPECT_EQ(quantizer.ntotal, 0);
    EXPECT_EQ(dynamic_cast<faiss::IndexHNSW&>(quantizer).hnsw.max_level, -1);
    train(*index, kEnough, x.data());
    EXPECT_EQ(quantizer.ntotal, 16);
    const IndexPointer fresh = made("IVF16_HNSW8,PQ4np");
    train(*fresh, kEnough, x.data());
    EXPECT_EQ(written(*index), written(*fresh));
}

TEST_F(FailedTraining, KeepsVectorsOfQuantizerAndAssigner) {
    const IndexPointer index = made("IVF16,PQ4np");
    auto* ivf = faiss::ivflib::extract_index_ivf(index.get());
    faiss::IndexFlatL2 assigner(kDim);
    assigner.add(2, x.data());
    ivf->clustering_index = &assigner;
    ivf->quantizer->add(3, x.data());
    const auto before = written(*index);
    EXPECT_THROW(train(*index, 200, x.data()), faiss::FaissException);
    EXPECT_EQ(written(*index), before);
    EXPECT_EQ(assigner.ntotal, 2);
    EXPECT_TRUE(std::equal(assigner.get_xb(), assigner.get_xb() + 2 * kDim, x.begin()));
}

/// Centroids would be added to what the graph has: more vectors than lists.
TEST_F(FailedTraining, AHalfFullGraphIsRejected) {
    const IndexPointer index = made("IVF16_HNSW8,Flat");
    faiss::ivflib::extract_index_ivf(index.get())->quantizer->add(3, x.data());
    const auto before = written(*index);
    try {
        train(*index, kEnough, x.data());
        FAIL() << "no exception";
    } catch (const faiss::FaissException& error) {
        EXPECT_NE(
                std::string(error.what()).find("quantizer.ntotal=3 is neither 0 nor nlist=16"),
                std::string::npos)
                << error.what();
    }
    EXPECT_EQ(written(*index), before);
}

TEST_F(FailedTraining, OfTheClassLeavesItAsItWas) {
    faiss::IndexFlatL2 quantizer(kDim);
    quantizer.add(3, x.data());
    IndexIVFFlat index(&quantizer, kDim, 16);
    index.device = "cuda:77";
    EXPECT_THROW(index.train(kEnough, x.data()), faiss::FaissException);
    EXPECT_EQ(quantizer.ntotal, 3);
    EXPECT_FALSE(index.is_trained);
    EXPECT_EQ(index.quantizer, &quantizer);
    EXPECT_EQ(index.quantizer_trains_alone, 0);
}

/// An index that takes no second vector.
struct Refusing : faiss::IndexFlatL2 {
    using IndexFlatL2::IndexFlatL2;
    void add(int64_t n, const float* x) override {
        if (n > 1) {
            throw faiss::FaissException("full");
        }
        IndexFlatL2::add(n, x);
    }
};

/// Over any index, the engine's or not.
TEST_F(FailedTraining, OfAClusteringLeavesItsIndex) {
    Refusing flat(kDim);
    faiss::IndexScalarQuantizer other(kDim, faiss::ScalarQuantizer::QT_8bit);
    flat.add(1, x.data());
    for (faiss::Index* index :
         {static_cast<faiss::Index*>(&flat), static_cast<faiss::Index*>(&other)}) {
        const auto before = written(*index);
        Clustering clustering(kDim, 5);
        clustering.centroids.assign(x.begin(), x.begin() + 2 * kDim);
        const int64_t n = index == &flat ? 300 : 4;
        EXPECT_THROW(clustering.train(n, x.data(), *index), faiss::FaissException);
        EXPECT_EQ(written(*index), before);
        EXPECT_EQ(clustering.centroids, Floats(x.begin(), x.begin() + 2 * kDim));
        EXPECT_TRUE(clustering.iteration_stats.empty());
    }
}

/// Wants the interruption when it is asked for the n-th time.
struct InterruptAt : faiss::InterruptCallback {
    explicit InterruptAt(int n) : left(n) {}
    bool want_interrupt() override { return --left == 0; }
    int left;
};

TEST_F(FailedTraining, AtAnyInterruption) {
    for (const char* key :
         {"OPQ4,IVF16_HNSW8,PQ4x4np", "IVF16(RCQ2x2),LSQ2x3", "PCA4,IMI2x2,RQ2x3"}) {
        int interrupted = 0;
        for (int at = 1; at < 100000; at += 1 + at / 3) {
            const IndexPointer index = made(key);
            const auto before = written(*index);
            faiss::InterruptCallback::instance.reset(new InterruptAt(at));
            try {
                train(*index, kEnough, x.data());
                at = 100000;
            } catch (const faiss::FaissException&) {
                interrupted++;
                EXPECT_EQ(written(*index), before) << key << " at " << at;
            }
            faiss::InterruptCallback::clear_instance();
        }
        EXPECT_GT(interrupted, 1) << key;
    }
}

} // namespace
} // namespace faiss_flash
