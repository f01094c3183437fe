#include <faiss_flash/core/lloyd_state.h>

#include <gtest/gtest.h>

#include <cmath>
#include <sstream>
#include <string>

namespace faiss_flash {
namespace {

LloydState some_state() {
    LloydState state;
    state.fingerprint = {"n=5 d=1 k=3", 1, uint64_t{2} << 60, 3, 4};
    state.seed = int64_t{1} << 40;
    state.redo = 2;
    state.iterations = 7;
    state.over = true;
    state.centroids = {1.5f, -0.0f, 1e-40f}; // of an odd number of bytes in words of 8
    state.averages = {1.0 / 7, 2};
    state.best_centroids = {4, 5, 6};
    state.best_objective = 1.0 / 3;
    state.best_iterations = 1;
    state.stats.resize(2);
    state.stats[1] = {1.25, 2, 3, 4, 5, 6, 7, 8};
    return state;
}

std::string bytes_of(const LloydState& state) {
    std::ostringstream out;
    write_state(state, out);
    return out.str();
}

LloydState state_of(const std::string& bytes) {
    std::istringstream in(bytes);
    return read_state(in);
}

std::string error_of(const std::string& bytes) {
    try {
        state_of(bytes);
    } catch (const Error& error) {
        return error.what();
    }
    return "";
}

TEST(LloydState, ComesBack) {
    const LloydState state = some_state();
    const LloydState back = state_of(bytes_of(state));
    EXPECT_EQ(difference(back.fingerprint, state.fingerprint), "");
    EXPECT_EQ(back.fingerprint.options, state.fingerprint.options);
    EXPECT_EQ(back.fingerprint.facts, state.fingerprint.facts);
    EXPECT_EQ(back.seed, state.seed);
    EXPECT_EQ(back.redo, state.redo);
    EXPECT_EQ(back.iterations, state.iterations);
    EXPECT_TRUE(back.over);
    EXPECT_EQ(back.centroids, state.centroids);
    EXPECT_TRUE(std::signbit(back.centroids[1]));
    EXPECT_EQ(back.averages, state.averages);
    EXPECT_EQ(back.best_centroids, state.best_centroids);
    EXPECT_EQ(back.best_objective, state.best_objective);
    EXPECT_EQ(back.best_iterations, state.best_iterations);
    ASSERT_EQ(back.stats.size(), 2u);
    EXPECT_EQ(back.stats[1].objective, 1.25);
    EXPECT_EQ(back.stats[1].decided, 8);
    EXPECT_EQ(bytes_of(back), bytes_of(state));
    EXPECT_EQ(bytes_of(state_of(bytes_of(LloydState()))), bytes_of(LloydState()));
}

/// Vectors that are read in several pieces.
TEST(LloydState, ComesBackWhenLarge) {
    LloydState state = some_state();
    state.centroids.resize(200001);
    for (size_t i = 0; i < state.centroids.size(); i++) {
        state.centroids[i] = static_cast<float>(i);
    }
    EXPECT_EQ(state_of(bytes_of(state)).centroids, state.centroids);
}

TEST(LloydState, StreamsHoldSeveral) {
    std::stringstream stream;
    write_state(some_state(), stream);
    write_state(LloydState(), stream);
    EXPECT_EQ(read_state(stream).seed, some_state().seed);
    EXPECT_EQ(read_state(stream).seed, 0);
}

TEST(LloydState, IsRefusedWhenCutShort) {
    const std::string bytes = bytes_of(some_state());
    for (size_t size = 0; size < bytes.size(); size++) {
        EXPECT_EQ(error_of(bytes.substr(0, size)), "cut short") << size;
    }
}

TEST(LloydState, IsRefusedWithAnyBitChanged) {
    const std::string bytes = bytes_of(some_state());
    for (size_t bit = 0; bit < 8 * bytes.size(); bit++) {
        std::string damaged = bytes;
        damaged[bit / 8] = static_cast<char>(damaged[bit / 8] ^ (1 << bit % 8));
        EXPECT_NE(error_of(damaged), "") << bit;
    }
}

TEST(LloydState, SaysWhatIsWrong) {
    std::string bytes = bytes_of(some_state());
    EXPECT_EQ(error_of("# a text of some length\n"), "not a checkpoint of faiss_flash");
    bytes[8] = 1;
    EXPECT_EQ(error_of(bytes), "of version 1, not 2");
    bytes[8] = 2;
    bytes.back() = static_cast<char>(bytes.back() ^ 1);
    EXPECT_EQ(error_of(bytes), "damaged: its checksum does not fit");
}

} // namespace
} // namespace faiss_flash
