/// Calls of kmeans() with a checkpoint, of many kinds, and their results.
#pragma once

#include <faiss_flash/core/lloyd_state.h>
#include <faiss_flash/kmeans.h>

#include <support/data.h>

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <stdexcept>
#include <string>
#include <vector>

namespace faiss_flash::test {

constexpr int64_t kN = 600, kD = 5, kK = 9;

struct BrokenOff : std::runtime_error {
    using std::runtime_error::runtime_error;
};

/// A folder of its own, which goes with it.
class Folder {
   public:
    Folder() {
        std::string name = testing::TempDir() + "checkpoint_XXXXXX";
        path_ = mkdtemp(name.data());
    }
    ~Folder() { std::filesystem::remove_all(path_); }
    std::string file(const std::string& name) const { return path_ / name; }
    std::vector<std::string> files() const {
        std::vector<std::string> names;
        for (const auto& entry : std::filesystem::directory_iterator(path_)) {
            names.push_back(entry.path().filename());
        }
        return names;
    }

   private:
    std::filesystem::path path_;
};

inline LloydState state_in(const std::string& path) {
    std::ifstream in(path, std::ios::binary);
    return read_state(in);
}

inline Floats some_weights() {
    Floats weights(kN);
    for (size_t i = 0; i < weights.size(); i++) {
        weights[i] = 0.5f + static_cast<float>(i % 7);
    }
    return weights;
}

/// A call of kmeans() that is made again and again.
struct Call {
    std::string name;
    KMeansOptions options;
    bool weighted = false;
    int64_t given = 0;
    Floats x = mixture(kN, kD, 20, 1, 0.7f);
    Floats weights = some_weights();
    int64_t n = kN, k = kK;

    using Callback = std::function<bool(int64_t call)>;
    KMeansResult run(const std::string& path, bool resume, const Callback& callback = {}) const {
        KMeansInput input;
        input.points = VectorView::of(x.data(), n, kD);
        if (weighted) {
            input.weights = VectorView::of(weights.data(), n, 1);
        }
        const Floats initial(x.begin(), x.begin() + given * kD);
        input.initial_centroids = VectorView::of(initial.data(), given, kD);
        KMeansOptions all = options;
        all.checkpoint = path;
        all.resume = resume;
        int64_t calls = 0;
        if (callback) {
            all.callback = [&](const IterationStats&, double) { return callback(calls++); };
        }
        return kmeans(input, k, all);
    }
};

inline std::vector<Call> calls() {
    KMeansOptions plain;
    plain.device = "cpu";
    plain.niter = 12;
    plain.max_points_per_centroid = -1;
    plain.early_stop_threshold.reset();
    KMeansOptions product = plain;
    product.metric = Metric::inner_product;
    KMeansOptions spherical = plain;
    spherical.spherical = true;
    KMeansOptions integers = plain;
    integers.int_centroids = true;
    KMeansOptions frozen = spherical;
    frozen.frozen_centroids = true;
    KMeansOptions early = plain;
    early.niter = 30;
    early.early_stop_threshold = 2e-3;
    KMeansOptions restarts = plain;
    restarts.nredo = 3;
    restarts.niter = 5;
    KMeansOptions early_restarts = early;
    early_restarts.nredo = 3;
    early_restarts.spherical = true;
    KMeansOptions sample = plain;
    sample.max_points_per_centroid = 20;
    KMeansOptions fast_sample = sample;
    fast_sample.use_faster_subsampling = true;
    fast_sample.return_assignment = true;
    KMeansOptions averages = plain;
    averages.algorithm = Algorithm::e_means;
    averages.niter = 5;
    KMeansOptions averaged_restarts = averages;
    averaged_restarts.nredo = 3;
    averaged_restarts.spherical = true;
    return {
            {"plain", plain},
            {"inner product", product},
            {"weights", plain, true},
            {"spherical", spherical},
            {"integers", integers},
            {"frozen", frozen, true, 4},
            {"early stop", early},
            {"restarts", restarts},
            {"restarts, some given", restarts, false, 4},
            {"restarts that stop early", early_restarts, true, 2},
            {"sample", sample, true},
            {"another sample", fast_sample},
            {"e-means", averages},
            {"e-means of weights, restarts", averaged_restarts, true},
    };
}

template <class T>
bool same_bits(const std::vector<T>& a, const std::vector<T>& b) {
    return a.size() == b.size() &&
           (a.empty() || std::memcmp(a.data(), b.data(), a.size() * sizeof(T)) == 0);
}

inline void expect_same(const KMeansResult& got, const KMeansResult& expected) {
    EXPECT_EQ(got.k, expected.k);
    EXPECT_EQ(got.d, expected.d);
    EXPECT_TRUE(same_bits(got.centroids, expected.centroids));
    EXPECT_EQ(got.assignment, expected.assignment);
    EXPECT_TRUE(same_bits(got.distances, expected.distances));
    ASSERT_EQ(got.iterations.size(), expected.iterations.size());
    for (size_t i = 0; i < got.iterations.size(); i++) {
        const IterationStats& mine = got.iterations[i];
        EXPECT_EQ(mine.objective, expected.iterations[i].objective) << i;
        EXPECT_EQ(mine.imbalance_factor, expected.iterations[i].imbalance_factor) << i;
        EXPECT_EQ(mine.nsplit, expected.iterations[i].nsplit) << i;
        EXPECT_GE(mine.time, i == 0 ? 0 : got.iterations[i - 1].time) << i;
        EXPECT_GE(mine.time_search, i == 0 ? 0 : got.iterations[i - 1].time_search) << i;
    }
}

} // namespace faiss_flash::test
