/// faiss::InterruptCallback ends what takes long, and nothing has been added then.
#include <faiss_flash/Clustering.h>
#include <faiss_flash/IndexFlat.h>
#include <faiss_flash/IndexIVFFlat.h>
#include <faiss_flash/index_factory.h>
#include <faiss_flash/train.h>

#include <support/data.h>
#include <support/written.h>

#include <faiss/IVFlib.h>
#include <faiss/IndexFlat.h>
#include <faiss/IndexIVF.h>
#include <faiss/impl/AuxIndexStructures.h>
#include <faiss/impl/FaissException.h>
#include <gtest/gtest.h>
#include <omp.h>

#include <atomic>
#include <chrono>
#include <cstring>
#include <functional>
#include <memory>
#include <thread>

namespace faiss_flash {
namespace {

using test::Floats;
using Clock = std::chrono::steady_clock;

constexpr int kDim = 64;
constexpr int64_t kLists = 4096;
constexpr int64_t kRows = 60000;
constexpr int64_t kLong = 10 * kRows; // some tenths of a second with that many lists

/// Wants the interruption from a time on; counts who asks at once.
struct InterruptAfter : faiss::InterruptCallback {
    explicit InterruptAfter(int milliseconds)
        : end(Clock::now() + std::chrono::milliseconds(milliseconds)) {}
    bool want_interrupt() override {
        most = std::max(most.load(), ++inside);
        asked++;
        inside--;
        return Clock::now() > end;
    }
    const Clock::time_point end;
    std::atomic<int> inside{0};
    std::atomic<int> most{0};
    std::atomic<int> asked{0};
};

struct Interrupt : testing::Test {
    const Floats centroids = test::normal(kLists, kDim, 1);
    const Floats x = test::normal(kRows, kDim, 2);
    /// The same rows again and again, for calls that do not end by themselves.
    Floats long_rows() const {
        Floats rows;
        for (int64_t n = 0; n < kLong; n += kRows) {
            rows.insert(rows.end(), x.begin(), x.end());
        }
        return rows;
    }
    std::unique_ptr<IndexFlatL2> quantizer{new IndexFlatL2(kDim)};

    Interrupt() { quantizer->add(kLists, centroids.data()); }
    ~Interrupt() override { faiss::InterruptCallback::clear_instance(); }

    /// The lists' centroids are those of the quantizer.
    std::unique_ptr<faiss::Index> trained(const char* key) const {
        auto index = faiss_flash::index_factory(kDim, key);
        faiss::IndexIVF* ivf = faiss::ivflib::extract_index_ivf(index.get());
        ivf->quantizer->add(static_cast<int64_t>(ivf->nlist), centroids.data());
        index->train(kRows / 10, x.data());
        return index;
    }

    static InterruptAfter& after(int milliseconds) {
        faiss::InterruptCallback::instance.reset(new InterruptAfter(milliseconds));
        return dynamic_cast<InterruptAfter&>(*faiss::InterruptCallback::instance);
    }

    static void expect_interrupted(const std::function<void()>& call) {
        const InterruptAfter& callback = after(0);
        try {
            call();
            ADD_FAILURE() << "not interrupted; asked " << callback.asked << " times";
        } catch (const faiss::FaissException& error) {
            EXPECT_NE(std::string(error.what()).find("computation interrupted"), std::string::npos)
                    << error.what();
        }
        EXPECT_EQ(callback.most, 1);
    }
};

TEST_F(Interrupt, EndsSearchAndAssign) {
    const Floats rows = long_rows();
    std::vector<int64_t> ids(kLong, 7);
    Floats distances(kLong);
    expect_interrupted(
            [&] { quantizer->search(kLong, rows.data(), 1, distances.data(), ids.data()); });
    expect_interrupted([&] { quantizer->assign(kLong, rows.data(), ids.data()); });
    EXPECT_EQ(ids, std::vector<int64_t>(kLong, 7));
}

TEST_F(Interrupt, EndsAddAndNothingIsAdded) {
    const Floats rows = long_rows();
    IndexIVFFlat of_class(quantizer.get(), kDim, kLists);
    const auto made = trained("IVF4096,SQ8");
    of_class.is_trained = true;
    for (faiss::Index* index : {static_cast<faiss::Index*>(&of_class), made.get()}) {
        expect_interrupted([&] { index->add(kLong, rows.data()); });
        EXPECT_EQ(index->ntotal, 0);
        expect_interrupted([&] { add(*index, kLong, rows.data()); });
        EXPECT_EQ(index->ntotal, 0);
        faiss::InterruptCallback::clear_instance();
        index->add(100, x.data());
        EXPECT_EQ(index->ntotal, 100);
    }
}

/// FAISS adds so many rows in several blocks: those of the first are taken out again.
TEST_F(Interrupt, EndsAnAddHalfWay) {
    constexpr int64_t kMany = 140000;
    const Floats many = test::normal(kMany, kDim, 3);
    const std::vector<int64_t> ids(kMany, 5);
    for (const char* key : {"IVF1024,PQ16x4fs", "IDMap2,IVF1024,PQ16x4np"}) {
        SCOPED_TRACE(key);
        const auto index = trained(key);
        const bool named = std::strncmp(key, "IDMap", 5) == 0;
        const auto fill = [&](int64_t n) {
            add(*index, n, many.data(), named ? ids.data() : nullptr);
        };
        fill(100);
        const auto before = test::written(*index);
        const auto start = Clock::now();
        fill(kMany);
        const std::chrono::duration<double, std::milli> whole = Clock::now() - start;
        int interrupted = 0;
        for (const double share : {0.5, 0.7}) {
            index->reset();
            fill(100);
            after(static_cast<int>(whole.count() * share));
            try {
                fill(kMany);
            } catch (const faiss::FaissException&) {
                interrupted++;
                EXPECT_EQ(test::written(*index), before);
            }
            faiss::InterruptCallback::clear_instance();
        }
        EXPECT_GT(interrupted, 0);
    }
}

TEST_F(Interrupt, EndsTraining) {
    faiss::IndexFlatL2 other(kDim);
    IndexIVFFlat index(&other, kDim, kLists);
    expect_interrupted([&] { index.train(kRows, x.data()); });
    EXPECT_EQ(other.ntotal, 0);
    for (const bool own : {false, true}) {
        const auto made = faiss_flash::index_factory(kDim, "IVF4096,Flat");
        expect_interrupted(
                [&] { own ? made->train(kRows, x.data()) : train(*made, kRows, x.data()); });
        EXPECT_FALSE(made->is_trained);
    }
}

/// An exception that leaves an OpenMP region ends the process: FAISS's searches call a quantizer in
/// one, and not all of them catch what it throws.
TEST_F(Interrupt, LeavesNoOpenMpRegion) {
    after(0);
    std::vector<int64_t> ids(kRows);
    Floats distances(kRows);
    const int64_t part = kRows / 3;
#pragma omp parallel for num_threads(3)
    for (int i = 0; i < 3; i++) {
        quantizer->search(part, &x[i * part * kDim], 1, &distances[i * part], &ids[i * part]);
    }
    faiss::InterruptCallback::clear_instance();
    std::vector<int64_t> expected(kRows);
    quantizer->assign(kRows, x.data(), expected.data());
    EXPECT_EQ(ids, expected);
}

TEST_F(Interrupt, EndsTheSearchOfAnIvf) {
    IndexIVFFlat index(quantizer.get(), kDim, kLists);
    index.is_trained = true;
    index.add(kRows, x.data());
    const Floats rows = long_rows();
    std::vector<int64_t> ids(kLong);
    Floats distances(kLong);
    expect_interrupted([&] { index.search(kLong, rows.data(), 1, distances.data(), ids.data()); });
}

/// Threads of a program that each fill an index of their own, with one quantizer for all.
TEST_F(Interrupt, IsAskedForByOneThreadAtATime) {
    const InterruptAfter& callback = after(60000);
    std::vector<std::thread> threads;
    std::vector<std::unique_ptr<IndexIVFFlat>> indexes;
    for (int i = 0; i < 3; i++) {
        indexes.emplace_back(new IndexIVFFlat(quantizer.get(), kDim, kLists));
        indexes.back()->is_trained = true;
        threads.emplace_back([&, i] { add(*indexes[static_cast<size_t>(i)], kRows, x.data()); });
    }
    for (std::thread& thread : threads) {
        thread.join();
    }
    EXPECT_EQ(callback.most, 1);
    EXPECT_GT(callback.asked, 0);
    for (const auto& index : indexes) {
        EXPECT_EQ(index->ntotal, kRows);
    }
}

} // namespace
} // namespace faiss_flash
