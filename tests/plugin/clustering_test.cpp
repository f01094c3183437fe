/// faiss_flash::Clustering beside faiss::Clustering: same seed, same data, same process.
#include <faiss_flash/Clustering.h>

#include <support/data.h>

#include <faiss/IndexFlat.h>
#include <faiss/IndexHNSW.h>
#include <faiss/IndexScalarQuantizer.h>
#include <faiss/impl/AuxIndexStructures.h>
#include <faiss/impl/FaissException.h>
#include <faiss/utils/random.h>
#include <gtest/gtest.h>
#include <omp.h>

#include <cmath>
#include <functional>
#include <memory>

namespace faiss_flash {
namespace {

using test::Floats;

struct Case {
    std::string name;
    int64_t n = 4000;
    int d = 24;
    int k = 50;
    bool inner_product = false;
    bool weighted = false;
    int given = 0; // initial centroids
    /// Of each of them. All but one of the copies get empty clusters; in whole numbers, so that
    /// stock FAISS too sees the copies at the same distance.
    int copies = 1;
    int trainings = 1; // train() calls on one object
    std::function<void(faiss::ClusteringParameters&)> set = [](faiss::ClusteringParameters&) {};
};

void PrintTo(const Case& tested, std::ostream* out) {
    *out << tested.name;
}

/// A clustering of either kind after its training, with the index it was given.
template <class AnyClustering>
struct Trained {
    std::unique_ptr<AnyClustering> clustering;
    std::unique_ptr<faiss::IndexFlat> index;

    Trained(const Case& tested, const Floats& x, const Floats& weights)
        : clustering(new AnyClustering(tested.d, tested.k)),
          index(new faiss::IndexFlat(
                  tested.d,
                  tested.inner_product ? faiss::METRIC_INNER_PRODUCT : faiss::METRIC_L2)) {
        clustering->niter = 12;
        tested.set(*clustering);
        for (int copy = 0; copy < tested.copies; copy++) {
            clustering->centroids.insert(
                    clustering->centroids.end(), x.begin(), x.begin() + tested.given * tested.d);
        }
        index->add(3, x.data()); // must be gone afterwards
        for (int i = 0; i < tested.trainings; i++) {
            clustering->train(
                    tested.n, x.data(), *index, tested.weighted ? weights.data() : nullptr);
        }
    }
};

struct AgainstStock : testing::TestWithParam<Case> {};

TEST_P(AgainstStock, FollowsItsObjective) {
    const Case& tested = GetParam();
    Floats x = test::mixture(tested.n, tested.d, tested.k / 2 + 1, 11, 0.6f);
    if (tested.copies > 1) {
        std::transform(x.begin(), x.end(), x.begin(), [](float v) { return std::round(20 * v); });
    }
    Floats weights = test::normal(tested.n, 1, 12, 3, 0.5f);
    const Trained<Clustering> ours(tested, x, weights);
    const Trained<faiss::Clustering> stock(tested, x, weights);

    const auto& mine = ours.clustering->iteration_stats;
    const auto& theirs = stock.clustering->iteration_stats;
    ASSERT_EQ(mine.size(), theirs.size());
    if (tested.copies > 1) {
        EXPECT_GE(mine[0].nsplit, tested.given * (tested.copies - 1));
    }
    bool forked = false; // a near-tie decided otherwise
    for (size_t i = 0; i < mine.size(); i++) {
        const double relative = i < 5 ? 1e-4 : 1e-3;
        EXPECT_NEAR(mine[i].obj, theirs[i].obj, relative * std::abs(theirs[i].obj)) << i;
        forked = forked || std::abs(mine[i].obj - theirs[i].obj) > 1e-5 * std::abs(theirs[i].obj);
        if (!forked) {
            EXPECT_EQ(mine[i].nsplit, theirs[i].nsplit) << i;
            EXPECT_NEAR(mine[i].imbalance_factor, theirs[i].imbalance_factor, 1e-3) << i;
        }
        EXPECT_GE(mine[i].time, mine[i].time_search);
    }
    ASSERT_EQ(ours.clustering->centroids.size(), stock.clustering->centroids.size());
    EXPECT_EQ(ours.index->ntotal, tested.k);
    EXPECT_TRUE(std::equal(
            ours.clustering->centroids.begin(),
            ours.clustering->centroids.end(),
            ours.index->get_xb()));
    if (!forked) {
        for (size_t i = 0; i < ours.clustering->centroids.size(); i++) {
            EXPECT_NEAR(ours.clustering->centroids[i], stock.clustering->centroids[i], 1e-3) << i;
        }
    }
}

std::vector<Case> cases() {
    std::vector<Case> list;
    const auto add = [&list](const std::string& name) -> Case& {
        list.emplace_back();
        list.back().name = name;
        return list.back();
    };
    add("l2");
    add("l2_large").n = 12000;
    Case& product = add("inner_product_spherical");
    product.inner_product = true;
    product.set = [](auto& cp) { cp.spherical = true; };
    add("l2_spherical").set = [](auto& cp) { cp.spherical = true; };
    add("weights").weighted = true;
    Case& sampled_weights = add("sampled_weights");
    sampled_weights.weighted = true;
    sampled_weights.set = [](auto& cp) { cp.max_points_per_centroid = 40; };
    add("sampled").set = [](auto& cp) { cp.max_points_per_centroid = 45; };
    add("partial_initial_centroids").given = 20;
    Case& partial_redo = add("partial_initial_centroids_nredo");
    partial_redo.given = 20;
    partial_redo.set = [](auto& cp) { cp.nredo = 3; };
    Case& frozen = add("frozen");
    frozen.given = 20;
    frozen.set = [](auto& cp) { cp.frozen_centroids = true; };
    Case& frozen_redo = add("frozen_nredo_spherical");
    frozen_redo.given = 20;
    frozen_redo.set = [](auto& cp) {
        cp.frozen_centroids = true;
        cp.nredo = 2;
        cp.spherical = true;
    };
    add("int_centroids").set = [](auto& cp) { cp.int_centroids = true; };
    add("nredo").set = [](auto& cp) { cp.nredo = 3; };
    Case& empty = add("k_close_to_n");
    empty.n = 60;
    Case& duplicates = add("k_close_to_n_large");
    duplicates.n = 700;
    duplicates.k = 650;
    duplicates.d = 8;
    Case& empty_clusters = add("k_close_to_n_empty_clusters");
    empty_clusters.n = 1410; // no near-tie, on any of OpenBLAS's kernels
    empty_clusters.k = 400;
    empty_clusters.given = 40;
    empty_clusters.copies = 3;
    add("n_equals_k").n = 50;
    Case& same_after_sampling = add("n_equals_k_after_sampling");
    same_after_sampling.set = [](auto& cp) { cp.max_points_per_centroid = 1; };
    add("warm_start").trainings = 2;
    add("negative_seed").set = [](auto& cp) { cp.seed = -5; };
    add("never_sampled").set = [](auto& cp) { cp.max_points_per_centroid = -1; };
    add("three_dimensions").d = 3;
    return list;
}

INSTANTIATE_TEST_SUITE_P(Cases, AgainstStock, testing::ValuesIn(cases()), [](const auto& tested) {
    return tested.param.name;
});

TEST(Clustering, TrainEncodedFollowsStock) {
    const int d = 16;
    const Floats x = test::mixture(3000, d, 20, 3, 0.5f);
    faiss::IndexScalarQuantizer codec(d, faiss::ScalarQuantizer::QT_8bit);
    codec.train(3000, x.data());
    std::vector<uint8_t> codes(3000 * codec.sa_code_size());
    codec.sa_encode(3000, x.data(), codes.data());
    for (const int max_points : {256, 50}) {
        Clustering ours(d, 30);
        faiss::Clustering stock(d, 30);
        faiss::IndexFlatL2 our_index(d);
        faiss::IndexFlatL2 stock_index(d);
        ours.max_points_per_centroid = stock.max_points_per_centroid = max_points;
        ours.train_encoded(3000, codes.data(), &codec, our_index);
        stock.train_encoded(3000, codes.data(), &codec, stock_index);
        ASSERT_EQ(ours.iteration_stats.size(), stock.iteration_stats.size());
        for (size_t i = 0; i < stock.iteration_stats.size(); i++) {
            const float expected = stock.iteration_stats[i].obj;
            EXPECT_NEAR(ours.iteration_stats[i].obj, expected, (i < 5 ? 1e-4 : 1e-3) * expected);
        }
    }
}

/// Another index is an assigner of the caller's own: stock FAISS serves it.
TEST(Clustering, OtherIndexesAreServedByStock) {
    const int d = 8;
    const Floats x = test::mixture(2000, d, 20, 3, 0.5f);
    faiss::IndexHNSWFlat our_index(d, 8);
    faiss::IndexHNSWFlat stock_index(d, 8);
    Clustering ours(d, 20);
    faiss::Clustering stock(d, 20);
    ours.train(2000, x.data(), our_index);
    stock.train(2000, x.data(), stock_index);
    EXPECT_EQ(our_index.ntotal, 20);
    EXPECT_NEAR(
            ours.iteration_stats.back().obj,
            stock.iteration_stats.back().obj,
            0.05 * stock.iteration_stats.back().obj);
}

TEST(Clustering, SameBitsTwiceAndForAnyNumberOfThreads) {
    const int d = 32;
    const Floats x = test::normal(6000, d, 5);
    std::vector<Floats> centroids;
    const int before = omp_get_max_threads();
    for (const int threads : {1, 2, 2, 3}) {
        omp_set_num_threads(threads);
        Clustering clustering(d, 100);
        faiss::IndexFlatL2 index(d);
        clustering.train(6000, x.data(), index);
        centroids.push_back(clustering.centroids);
    }
    omp_set_num_threads(before);
    for (const Floats& other : centroids) {
        EXPECT_EQ(other, centroids[0]);
    }
}

TEST(Clustering, ClassicFunctionFollowsStock) {
    const Floats x = test::mixture(2000, 12, 10, 9, 0.4f);
    Floats mine(10 * 12);
    Floats theirs(10 * 12);
    const float objective = kmeans_clustering(12, 2000, 10, x.data(), mine.data());
    EXPECT_NEAR(
            objective,
            faiss::kmeans_clustering(12, 2000, 10, x.data(), theirs.data()),
            1e-3 * objective);
}

TEST(Clustering, PrintsFaissLines) {
    const Floats x = test::normal(1000, 4, 5);
    Clustering clustering(4, 10);
    clustering.niter = 2;
    clustering.verbose = true;
    clustering.max_points_per_centroid = 50;
    clustering.nredo = 2;
    faiss::IndexFlatL2 index(4);
    testing::internal::CaptureStdout();
    clustering.train(1000, x.data(), index);
    const std::string text = testing::internal::GetCapturedStdout();
    for (const char* line :
         {"Sampling a subset of 500 / 1000 for training\n",
          "Clustering 500 points in 4D to 10 clusters, redo 2 times, 2 iterations\n",
          "  Preprocessing in ",
          "Outer iteration 0 / 2\n",
          "Outer iteration 1 / 2\n",
          "  Iteration 1 (",
          "objective=",
          "Objective improved: keep new clusters\n"}) {
        EXPECT_NE(text.find(line), std::string::npos) << line << "\nin:\n" << text;
    }
}

TEST(Clustering, WarnsOfFewPoints) {
    const Floats x = test::normal(389, 4, 5);
    Clustering clustering(4, 10);
    faiss::IndexFlatL2 index(4);
    testing::internal::CaptureStderr();
    clustering.train(389, x.data(), index);
    EXPECT_EQ(
            testing::internal::GetCapturedStderr(),
            "WARNING clustering 389 points to 10 centroids: please provide at least 390 training "
            "points\n");
}

/// Small weights make every probability of the split rule negative: stock 1.7.3 loops for ever.
TEST(Clustering, TinyWeightsWithEmptyClustersEnd) {
    Floats x(200 * 2, 1.0f);
    x[0] = 5;
    const Floats weights(200, 1e-6f);
    Clustering clustering(2, 8);
    faiss::IndexFlatL2 index(2);
    clustering.train(200, x.data(), index, weights.data());
    EXPECT_GT(clustering.iteration_stats[0].nsplit, 0);
    EXPECT_EQ(index.ntotal, 8);
}

struct StopAfter : faiss::InterruptCallback {
    int left;
    explicit StopAfter(int polls) : left(polls) {}
    bool want_interrupt() override { return left-- <= 0; }
};

TEST(Clustering, InterruptLeavesEverythingAsItWas) {
    const Floats x = test::normal(3000, 8, 5);
    Clustering clustering(8, 20);
    clustering.centroids.assign(x.begin(), x.begin() + 16);
    const Floats given = clustering.centroids;
    faiss::IndexFlatL2 index(8);
    index.add(3, x.data());
    std::unique_ptr<faiss::InterruptCallback> stop(new StopAfter(3));
    faiss::InterruptCallback::instance.swap(stop);
    clustering.nredo = 10000000; // it is asked every 50 ms
    EXPECT_THROW(clustering.train(3000, x.data(), index), faiss::FaissException);
    faiss::InterruptCallback::instance.swap(stop);
    EXPECT_EQ(index.ntotal, 3);
    EXPECT_EQ(clustering.centroids, given);
    EXPECT_TRUE(clustering.iteration_stats.empty());
    clustering.nredo = 1;
    clustering.train(3000, x.data(), index);
    EXPECT_EQ(index.ntotal, 20);
}

/// Stock loses half of its copies here: x^2 + c^2 - 2xc cancels.
TEST(Clustering, DataFarFromTheOrigin) {
    const int d = 32;
    Floats x = test::mixture(2000, d, 10, 6, 0.01f);
    for (float& value : x) {
        value += 1000;
    }
    Clustering clustering(d, 10);
    clustering.nredo = 5;
    faiss::IndexFlatL2 index(d);
    clustering.train(2000, x.data(), index);
    Floats shifted = x;
    for (float& value : shifted) {
        value -= 1000;
    }
    Clustering at_origin(d, 10);
    at_origin.nredo = 5;
    faiss::IndexFlatL2 other(d);
    at_origin.train(2000, shifted.data(), other);
    EXPECT_NEAR(
            clustering.iteration_stats.back().obj,
            at_origin.iteration_stats.back().obj,
            0.01 * at_origin.iteration_stats.back().obj);
}

} // namespace
} // namespace faiss_flash
