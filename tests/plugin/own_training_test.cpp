/// What an index, its class and its owner want of its training counts: parameters as they are then,
/// what the class's own train() does first, quantizers that train themselves; and copies train too.
#include <faiss_flash/IndexFlat.h>
#include <faiss_flash/IndexIVFFlat.h>
#include <faiss_flash/index_factory.h>
#include <faiss_flash/train.h>

#include <support/data.h>
#include <support/written.h>

#include <faiss/IVFlib.h>
#include <faiss/IndexFlat.h>
#include <faiss/IndexIVFFlat.h>
#include <faiss/IndexIVFPQ.h>
#include <faiss/IndexPQ.h>
#include <faiss/IndexPQFastScan.h>
#include <faiss/IndexPreTransform.h>
#include <faiss/MetaIndexes.h>
#include <faiss/VectorTransform.h>
#include <faiss/clone_index.h>
#include <faiss/impl/FaissException.h>
#include <faiss/index_factory.h>
#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <memory>

namespace faiss_flash {
namespace {

using test::Floats;
using test::written_and_read;
using IndexPointer = std::unique_ptr<faiss::Index>;

constexpr int kDim = 16;
constexpr int64_t kPoints = 2000;

const Floats& points() {
    static const Floats x = test::mixture(kPoints, kDim, 40, 1, 0.5f);
    return x;
}

faiss::IndexIVF& ivf_of(faiss::Index& index) {
    return *faiss::ivflib::extract_index_ivf(&index);
}

Floats vectors_of(const faiss::Index& index) {
    Floats vectors(static_cast<size_t>(index.ntotal * index.d));
    index.reconstruct_n(0, index.ntotal, vectors.data());
    return vectors;
}

double length(const float* vector) {
    double squares = 0;
    for (int j = 0; j < kDim; j++) {
        squares += static_cast<double>(vector[j]) * vector[j];
    }
    return std::sqrt(squares);
}

/// Both ways to train an accelerated index.
const std::vector<std::pair<const char*, std::function<void(faiss::Index&)>>> kTrainings{
        {"index.train()", [](faiss::Index& index) { index.train(kPoints, points().data()); }},
        {"train(index)", [](faiss::Index& index) { train(index, kPoints, points().data()); }}};

TEST(Accelerated, ParametersCountAsTheyAreAtTraining) {
    for (const auto& [way, trains] : kTrainings) {
        SCOPED_TRACE(way);
        const IndexPointer index = faiss_flash::index_factory(kDim, "IVF32,Flat");
        faiss::IndexIVF& ivf = ivf_of(*index);
        ivf.cp.spherical = true;
        trains(*index);
        const Floats centroids = vectors_of(*ivf.quantizer);
        for (int i = 0; i < 32; i++) {
            EXPECT_NEAR(length(&centroids[static_cast<size_t>(i * kDim)]), 1, 1e-5);
        }
    }
}

TEST(Accelerated, IterationsCountAsTheyAreAtTraining) {
    for (const auto& [way, trains] : kTrainings) {
        SCOPED_TRACE(way);
        Floats of_niter[2];
        for (const int niter : {1, 20}) {
            const IndexPointer index = faiss_flash::index_factory(kDim, "IVF32,Flat");
            const IndexPointer stock(faiss::index_factory(kDim, "IVF32,Flat"));
            ivf_of(*index).cp.niter = niter;
            ivf_of(*stock).cp.niter = niter;
            trains(*index);
            stock->train(kPoints, points().data());
            const Floats centroids = vectors_of(*ivf_of(*index).quantizer);
            const Floats expected = vectors_of(*ivf_of(*stock).quantizer);
            for (size_t i = 0; i < centroids.size(); i++) {
                ASSERT_NEAR(centroids[i], expected[i], 1e-3) << "niter=" << niter;
            }
            of_niter[niter > 1] = centroids;
        }
        EXPECT_NE(of_niter[0], of_niter[1]);
    }
}

TEST(Accelerated, AnotherNumberOfListsCounts) {
    for (const auto& [way, trains] : kTrainings) {
        SCOPED_TRACE(way);
        faiss::IndexIVFFlat index(new faiss::IndexFlatL2(kDim), kDim, 32);
        index.own_fields = true;
        accelerate(index);
        index.nlist = 20;
        trains(index);
        EXPECT_EQ(index.quantizer->ntotal, 20);
    }
}

TEST(Accelerated, CopiesOfAnUntrainedIndexTrain) {
    for (const char* key : {"IVF32,Flat", "IVF32,PQ8x4np", "PCA8,IVF32,PQ4x4np"}) {
        for (const bool from_file : {false, true}) {
            for (const auto& [way, trains] : kTrainings) {
                SCOPED_TRACE(std::string(key) + (from_file ? " read, " : " cloned, ") + way);
                IndexPointer original = faiss_flash::index_factory(kDim, key);
                const IndexPointer copy =
                        from_file ? written_and_read(*original)
                                  : IndexPointer(faiss::clone_index(original.get()));
                original.reset(); // nothing of it may be needed
                trains(*copy);
                EXPECT_TRUE(copy->is_trained);
                copy->add(kPoints, points().data());
                EXPECT_EQ(copy->ntotal, kPoints);
                EXPECT_EQ(ivf_of(*copy).quantizer->ntotal, 32);
            }
        }
    }
}

TEST(Accelerated, TheQuantizerOutlivesItsIndex) {
    IndexPointer index = faiss_flash::index_factory(kDim, "IVF32,Flat");
    faiss::IndexIVF& ivf = ivf_of(*index);
    const IndexPointer quantizer(ivf.quantizer);
    ivf.own_fields = false;
    index.reset();
    quantizer->train(kPoints, points().data());
    for (const auto& [way, trains] : kTrainings) {
        SCOPED_TRACE(way);
        quantizer->reset();
        faiss::IndexIVFFlat other(quantizer.get(), kDim, 24);
        trains(other);
        EXPECT_EQ(quantizer->ntotal, 24);
        other.add(kPoints, points().data());
        EXPECT_EQ(other.ntotal, kPoints);
    }
}

TEST(Accelerated, AFilledQuantizerIsKept) {
    for (const auto& [way, trains] : kTrainings) {
        SCOPED_TRACE(way);
        const IndexPointer index = faiss_flash::index_factory(kDim, "IVF32,PQ8x4np");
        ivf_of(*index).quantizer->add(32, points().data());
        trains(*index);
        EXPECT_EQ(
                vectors_of(*ivf_of(*index).quantizer),
                Floats(points().begin(), points().begin() + 32 * kDim));
    }
}

TEST(Train, AQuantizerOnTheEngineTrainsItself) {
    IndexFlatL2 quantizer(kDim, 32);
    faiss::IndexIVFPQ index(&quantizer, kDim, 32, 8, 4);
    index.quantizer_trains_alone = 1;
    train(index, kPoints, points().data());
    EXPECT_EQ(quantizer.ntotal, 32);
    EXPECT_EQ(index.quantizer, &quantizer);
    EXPECT_EQ(index.quantizer_trains_alone, 1);
    add(index, kPoints, points().data());
    EXPECT_EQ(index.ntotal, kPoints);
}

/// One row many times, and others: on all of them most centroids would lie at that row.
TEST(OwnTraining, DuplicatesAreLeftOut) {
    constexpr int64_t kCopies = 5000;
    constexpr int64_t kOthers = 400;
    Floats x;
    for (int64_t i = 0; i < kCopies; i++) {
        x.insert(x.end(), points().begin(), points().begin() + kDim);
    }
    x.insert(x.end(), points().begin() + kDim, points().begin() + (kOthers + 1) * kDim);
    const auto centroids_at_the_row = [&](const faiss::Index& quantizer) {
        const Floats centroids = vectors_of(quantizer);
        int found = 0;
        for (size_t c = 0; c < centroids.size(); c += kDim) {
            double squares = 0;
            for (size_t j = 0; j < kDim; j++) {
                squares += std::pow(centroids[c + j] - x[j], 2);
            }
            found += squares < 1e-3;
        }
        return found;
    };
    for (const char* key : {"IVF32,FlatDedup", "IVF32_HNSW8,FlatDedup", "IDMap,IVF32,FlatDedup"}) {
        const IndexPointer index(faiss::index_factory(kDim, key));
        train(*index, kCopies + kOthers, x.data());
        EXPECT_LE(centroids_at_the_row(*ivf_of(*index).quantizer), 1) << key;
    }
}

/// Leaves rows far out of the training, whatever it is the base of.
template <class Base>
struct WithoutOutliers : Base {
    using Base::Base;
    void train(int64_t n, const float* x) override {
        Floats kept;
        for (int64_t i = 0; i < n; i++) {
            if (length(x + i * kDim) < 100) {
                kept.insert(kept.end(), x + i * kDim, x + (i + 1) * kDim);
            }
        }
        Base::train(static_cast<int64_t>(kept.size()) / kDim, kept.data());
    }
};

struct Outliers : testing::Test {
    Floats x = points();
    Outliers() {
        for (size_t i = 0; i < x.size() / 10; i++) {
            x[i] *= 1e6f;
        }
    }
    static double longest(const Floats& vectors) {
        double most = 0;
        for (size_t i = 0; i < vectors.size(); i += kDim) {
            most = std::max(most, length(&vectors[i]));
        }
        return most;
    }
};

TEST_F(Outliers, AreLeftOutByAUsersIvf) {
    faiss::IndexFlatL2 quantizer(kDim);
    WithoutOutliers<faiss::IndexIVFFlat> flat(&quantizer, kDim, 32);
    train(flat, kPoints, x.data());
    EXPECT_LT(longest(vectors_of(quantizer)), 100);
    quantizer.reset();
    WithoutOutliers<IndexIVFFlat> ours(&quantizer, kDim, 32);
    train(ours, kPoints, x.data());
    EXPECT_LT(longest(vectors_of(quantizer)), 100);
    quantizer.reset();
    WithoutOutliers<faiss::IndexIVFPQ> codes(&quantizer, kDim, 32, 1, 5);
    train(codes, kPoints, x.data());
    EXPECT_LT(longest(vectors_of(quantizer)), 100);
    EXPECT_LT(longest(codes.pq.centroids), 100);
    EXPECT_EQ(codes.pq.train_type, faiss::ProductQuantizer::Train_default);
    EXPECT_EQ(codes.pq.cp.niter, 25);
}

TEST_F(Outliers, AreLeftOutByOtherClassesOfAUsers) {
    WithoutOutliers<faiss::IndexPQ> codes(kDim, 1, 5);
    train(codes, kPoints, x.data());
    EXPECT_LT(longest(codes.pq.centroids), 100);
    faiss::IndexIVFFlat ivf(new faiss::IndexFlatL2(kDim), kDim, 32);
    ivf.own_fields = true;
    WithoutOutliers<faiss::IndexIDMap> mapped(&ivf);
    train(mapped, kPoints, x.data());
    EXPECT_LT(longest(vectors_of(*ivf.quantizer)), 100);
}

/// Adds each row twice.
struct Doubling : faiss::IndexIVFFlat {
    using IndexIVFFlat::IndexIVFFlat;
    void add(int64_t n, const float* x) override {
        IndexIVFFlat::add(n, x);
        IndexIVFFlat::add(n, x);
    }
};

TEST(OwnAdd, OfAUsersClassIsDone) {
    faiss::IndexFlatL2 quantizer(kDim);
    Doubling index(&quantizer, kDim, 16);
    train(index, kPoints, points().data());
    add(index, 100, points().data());
    EXPECT_EQ(index.ntotal, 200);
    EXPECT_EQ(index.quantizer, &quantizer);
    EXPECT_EQ(index.quantizer_trains_alone, 0);
}

/// Finds the first vector, always.
struct First : faiss::IndexFlatL2 {
    using IndexFlatL2::IndexFlatL2;
    void search(
            int64_t n,
            const float* x,
            int64_t k,
            float* distances,
            int64_t* labels,
            const faiss::SearchParameters* params) const override {
        IndexFlatL2::search(n, x, k, distances, labels, params);
        std::fill_n(labels, n * k, 0);
    }
};

TEST(OwnSearch, OfAUsersQuantizerIsDone) {
    First quantizer(kDim);
    faiss::IndexIVFFlat index(&quantizer, kDim, 16);
    train(index, kPoints, points().data());
    accelerate(index);
    EXPECT_EQ(index.quantizer, &quantizer);
    add(index, kPoints, points().data());
    index.add(kPoints, points().data());
    EXPECT_EQ(index.invlists->list_size(0), static_cast<size_t>(2 * kPoints));
}

TEST(OwnAdd, OfNoRowsIsFine) {
    faiss::IndexFlatL2 quantizer(kDim);
    IndexIVFFlat index(&quantizer, kDim, 16);
    index.train(kPoints, points().data());
    index.add(0, points().data());
    index.add(0, nullptr);
    EXPECT_EQ(index.ntotal, 0);
}

TEST(Factory, NullIsNoDescription) {
    EXPECT_THROW(faiss_flash::index_factory(kDim, nullptr), faiss::FaissException);
}

TEST(Train, ATrainedFastScanKeepsItsCodebook) {
    faiss::IndexPQFastScan index(kDim, 8, 4);
    train(index, kPoints, points().data());
    const Floats before = index.pq.centroids;
    train(index, kPoints / 2, points().data());
    EXPECT_EQ(index.pq.centroids, before);
}

/// As FAISS does: behind a chain, what is trained already stays as it is.
TEST(Train, ATrainedIndexBehindTransformsIsKept) {
    faiss::IndexPQ codes(kDim, 8, 4);
    codes.train(kPoints, points().data());
    const Floats before = codes.pq.centroids;
    faiss::RandomRotationMatrix rotation(kDim, kDim);
    rotation.is_trained = false;
    faiss::IndexPreTransform index(&rotation, &codes);
    train(index, kPoints / 2, points().data());
    EXPECT_TRUE(rotation.is_trained);
    EXPECT_TRUE(index.is_trained);
    EXPECT_EQ(codes.pq.centroids, before);
}

} // namespace
} // namespace faiss_flash
