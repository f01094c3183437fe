/// What an index, its class and its owner want of its training counts: parameters as they are then,
/// what the class's own train() does first, quantizers that train themselves; and copies train too.
#include <faiss_flash/IndexFlat.h>
#include <faiss_flash/IndexIVFFlat.h>
#include <faiss_flash/index_factory.h>
#include <faiss_flash/train.h>

#include <support/data.h>

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
#include <faiss/impl/io.h>
#include <faiss/index_factory.h>
#include <faiss/index_io.h>
#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <memory>

namespace faiss_flash {
namespace {

using test::Floats;
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

IndexPointer written_and_read(const faiss::Index& index) {
    faiss::VectorIOWriter writer;
    faiss::write_index(&index, &writer);
    faiss::VectorIOReader reader;
    reader.data = writer.data;
    return IndexPointer(faiss::read_index(&reader));
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

} // namespace
} // namespace faiss_flash
