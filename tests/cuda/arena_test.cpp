/// Memory that is counted before it is taken; but for blocks no device is needed.
#include <faiss_flash/cuda/device_info.h>
#include <faiss_flash/cuda/runtime/arena.h>
#include <faiss_flash/cuda/runtime/stream.h>

#include <gtest/gtest.h>

#include <cstdint>

namespace faiss_flash::cuda {
namespace {

/// Two steps that follow each other between what both of them need and what comes after.
struct Work {
    explicit Work(Arena& arena) : before(arena.take<uint8_t>(256)) {
        const Arena::Steps steps(arena);
        {
            const Arena::Turn turn(arena);
            first = arena.take<double>(64);
        }
        second = arena.take<uint8_t>(1);
    }

    uint8_t* before; ///< [256]
    double* first;   ///< [64]
    uint8_t* second; ///< one, with the memory of `first`
};

struct Whole {
    explicit Whole(Arena& arena) : work(arena), after(arena.take<int32_t>(1)) {}

    Work work;
    int32_t* after; ///< one
};

TEST(Arena, CountsWithoutMemory) {
    Arena arena;
    EXPECT_EQ(arena.bytes(), 0);
    EXPECT_EQ(arena.take<int32_t>(1), nullptr);
    EXPECT_EQ(arena.bytes(), 256);
    arena.take<int32_t>(65);
    EXPECT_EQ(arena.bytes(), 768);
    {
        const Arena::Turn turn(arena);
        arena.take<uint8_t>(1000);
    }
    EXPECT_EQ(arena.bytes(), 1792);
    arena.take<uint8_t>(512);
    EXPECT_EQ(arena.bytes(), 1792) << "what a turn had is taken again";
    EXPECT_EQ(bytes_of([](Arena& other) { return Whole(other); }), 256 + 512 + 256);
}

TEST(Arena, StepsWithinATurn) {
    Arena arena;
    arena.take<uint8_t>(256);
    {
        const Arena::Turn turn(arena);
        const Work work(arena);
        arena.take<uint8_t>(256);
    }
    EXPECT_EQ(arena.bytes(), 256 + 1024);
    arena.take<uint8_t>(256);
    const Work work(arena);
    EXPECT_EQ(arena.bytes(), 512 + 768);
}

TEST(Arena, StepsShareMemoryAndNothingElseDoes) {
    if (device_count() == 0) {
        GTEST_SKIP() << "no CUDA device";
    }
    const Stream stream;
    const Allocated<Whole> whole(stream.get(), [](Arena& arena) { return Whole(arena); });
    const uint8_t* first = reinterpret_cast<const uint8_t*>(whole->work.first);
    EXPECT_EQ(first, whole->work.before + 256);
    EXPECT_EQ(whole->work.second, first);
    EXPECT_EQ(reinterpret_cast<const uint8_t*>(whole->after), first + 512);
    const Allocated<Arena*> nothing(stream.get(), [](Arena& arena) { return &arena; });
    EXPECT_EQ((*nothing)->take<uint8_t>(0), nullptr);
}

} // namespace
} // namespace faiss_flash::cuda
