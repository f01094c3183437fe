/// Host rows on their way to the device: of every type and place, by any number of threads.
#include <faiss_flash/core/interrupt.h>
#include <faiss_flash/core/packed_rows.h>
#include <faiss_flash/core/parallel.h>
#include <faiss_flash/cuda/runtime/pool.h>
#include <faiss_flash/cuda/runtime/stream.h>
#include <faiss_flash/cuda/upload.h>
#include <faiss_flash/kmeans.h>

#include <cuda/device_data.h>
#include <support/data.h>

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <memory>
#include <stdexcept>
#include <thread>

namespace faiss_flash {
namespace {

using Bytes = std::vector<uint8_t>;

constexpr auto kBlock = static_cast<int64_t>(cuda::kPinnedBlock);
constexpr int64_t kPage = 4096;

struct Upload : testing::Test {
    void SetUp() override {
        if (available_backends().front() == "cpu") {
            GTEST_SKIP() << "no CUDA device";
        }
        threads_ = num_threads();
    }
    void TearDown() override {
        if (!IsSkipped()) {
            set_num_threads(threads_);
            cuda::check(cudaDeviceSynchronize(), "after the test");
            uint64_t taken = 0;
            cuda::check(
                    cudaMemPoolGetAttribute(
                            cuda::memory_pool(), cudaMemPoolAttrUsedMemCurrent, &taken),
                    "the pool");
            EXPECT_EQ(taken, 0u) << "left behind";
        }
    }

   private:
    int threads_ = 1;
};

/// Bytes that differ from block to block and from row to row.
Bytes counted(int64_t count) {
    Bytes bytes(static_cast<size_t>(count));
    uint32_t state = 1;
    for (uint8_t& byte : bytes) {
        state = state * 1664525u + 1013904223u;
        byte = static_cast<uint8_t>(state >> 24);
    }
    return bytes;
}

VectorView view_of(const void* data, int64_t n, int64_t d, DType dtype, int64_t stride = 0) {
    VectorView view;
    view.data = data;
    view.n = n;
    view.d = d;
    view.dtype = dtype;
    view.row_stride = stride;
    return view;
}

/// As copy_packed() brings them together: all at once, on this thread.
Bytes expected_rows(const Points& points, int64_t first, int64_t n) {
    Bytes rows(static_cast<size_t>(n * packed_row_bytes(points)));
    copy_packed(points, first, n, rows.data());
    return rows;
}

Bytes uploaded_packed(const Points& points, int64_t first, int64_t n) {
    const cuda::Stream stream;
    const test::Output<uint8_t> to(static_cast<size_t>(n * packed_row_bytes(points)));
    cuda::upload_packed(points, first, n, to.get(), stream.get());
    cuda::check(cudaStreamSynchronize(stream.get()), "copying");
    EXPECT_TRUE(to.margin_is_untouched());
    return to.read();
}

/// By the pieces; each row is given out once.
Bytes uploaded_in_pieces(const Points& points, int64_t first, int64_t n) {
    const cuda::Stream stream;
    const int64_t row_bytes = packed_row_bytes(points);
    const test::Output<uint8_t> to(static_cast<size_t>(n * row_bytes));
    int64_t given = 0;
    std::atomic<int> inside{0};
    cuda::upload(
            points, first, n, stream.get(), [&](const void* rows, int64_t done, int64_t count) {
                EXPECT_EQ(inside++, 0) << "by two threads at a time";
                EXPECT_LE(done + count, n);
                EXPECT_LE(count * row_bytes, cuda::upload_bytes(n, row_bytes));
                given += count;
                cuda::check(
                        cudaMemcpyAsync(
                                to.get() + done * row_bytes,
                                rows,
                                static_cast<size_t>(count * row_bytes),
                                cudaMemcpyDeviceToDevice,
                                stream.get()),
                        "taking rows");
                inside--;
            });
    cuda::check(cudaStreamSynchronize(stream.get()), "copying");
    EXPECT_EQ(given, n);
    EXPECT_TRUE(to.margin_is_untouched());
    return to.read();
}

/// Both ways, by one thread and by many.
void expect_uploaded(const Points& points, int64_t first, int64_t n) {
    const Bytes expected = expected_rows(points, first, n);
    for (const int threads : {1, 2, 5, 40}) {
        SCOPED_TRACE(threads);
        set_num_threads(threads);
        EXPECT_TRUE(uploaded_packed(points, first, n) == expected);
        EXPECT_TRUE(uploaded_in_pieces(points, first, n) == expected);
    }
}

TEST_F(Upload, EveryTypeAndPlaceOfRows) {
    constexpr int64_t kColumns = 37;
    for (const DType dtype : {DType::f32, DType::f16, DType::bf16, DType::u8, DType::i8}) {
        SCOPED_TRACE(static_cast<int>(dtype));
        const int64_t bytes = kColumns * dtype_size(dtype);
        const int64_t n = 5 * kBlock / bytes + 7;
        for (const int64_t gap : {0, 5}) {
            SCOPED_TRACE(gap);
            const Bytes source = counted(1 + n * (bytes + gap));
            for (const int64_t offset : {0, 1}) { // misaligned rows
                const uint8_t* data = source.data() + offset;
                const VectorView view = view_of(data, n, kColumns, dtype, gap ? bytes + gap : 0);
                expect_uploaded(Points(view), 0, n);
                expect_uploaded(Points(view), 3, n - 5);
            }
            std::vector<int64_t> selection(static_cast<size_t>(n));
            for (int64_t i = 0; i < n; i++) {
                selection[static_cast<size_t>(i)] = i * 7919 % n;
            }
            const VectorView view =
                    view_of(source.data(), n, kColumns, dtype, gap ? bytes + gap : 0);
            expect_uploaded(Points(view, selection), 2, n - 2);
        }
    }
}

/// One row to some blocks; a block that is full, and one row more or less; long and short rows.
TEST_F(Upload, AnyNumberOfRows) {
    const Bytes source = counted(4 * kBlock + 100000);
    for (const int64_t d : {int64_t{1}, int64_t{4096}, int64_t{65521}, kBlock + 17}) {
        SCOPED_TRACE(d);
        const int64_t rows = std::max<int64_t>(1, kBlock / d);
        for (const int64_t n :
             {int64_t{1},
              int64_t{2},
              rows - 1,
              rows,
              rows + 1,
              3 * rows - 1,
              3 * rows,
              3 * rows + 1}) {
            if (n > 0 && n * d <= static_cast<int64_t>(source.size())) {
                SCOPED_TRACE(n);
                expect_uploaded(Points(view_of(source.data(), n, d, DType::u8)), 0, n);
            }
        }
    }
    const Points none(view_of(source.data(), 0, 8, DType::u8));
    const cuda::Stream stream;
    cuda::upload_packed(none, 0, 0, nullptr, stream.get());
    cuda::upload(none, 0, 0, stream.get(), [](const void*, int64_t, int64_t) { FAIL(); });
}

/// Codes of a byte a column.
struct Decoder : RowDecoder {
    explicit Decoder(int64_t columns) : d(columns) {}
    void decode(int64_t n, const uint8_t* codes, float* out) const override {
        calls++;
        before(n, codes);
        for (int64_t i = 0; i < n * d; i++) {
            out[i] = 0.25f * codes[i];
        }
    }
    virtual void before(int64_t /*n*/, const uint8_t* /*codes*/) const {}

    const int64_t d;
    mutable std::atomic<int64_t> calls{0};
};

TEST_F(Upload, RowsBehindADecoder) {
    constexpr int64_t kColumns = 24;
    const int64_t n = 9 * kBlock / (4 * kColumns) + 1;
    const Bytes codes = counted(n * kColumns);
    const Decoder decoder(kColumns);
    VectorView view = view_of(codes.data(), n, kColumns, DType::u8, kColumns);
    view.decoder = &decoder;
    expect_uploaded(Points(view), 0, n);
    expect_uploaded(Points(view), 5, n - 11);
    std::vector<int64_t> selection(static_cast<size_t>(n));
    for (int64_t i = 0; i < n; i++) {
        selection[static_cast<size_t>(i)] = n - 1 - i;
    }
    expect_uploaded(Points(view, selection), 0, n);
}

/// Fails at a row.
struct ThrowingDecoder final : Decoder {
    ThrowingDecoder(int64_t columns, const uint8_t* bad_row) : Decoder(columns), bad(bad_row) {}
    void before(int64_t n, const uint8_t* codes) const override {
        if (codes + n * d > bad) {
            throw std::domain_error("no such code");
        }
    }
    const uint8_t* bad;
};

TEST_F(Upload, WhatADecoderThrowsReachesTheCaller) {
    constexpr int64_t kColumns = 24;
    const int64_t n = 60 * kBlock / (4 * kColumns);
    const Bytes codes = counted(n * kColumns);
    VectorView view = view_of(codes.data(), n, kColumns, DType::u8, kColumns);
    for (const int threads : {1, 16}) {
        set_num_threads(threads);
        for (const int64_t row : {int64_t{0}, n / 3, n - 1}) {
            const ThrowingDecoder decoder(kColumns, codes.data() + row * kColumns);
            view.decoder = &decoder;
            EXPECT_THROW(uploaded_packed(Points(view), 0, n), std::domain_error);
            EXPECT_THROW(uploaded_in_pieces(Points(view), 0, n), std::domain_error);
        }
    }
    const Decoder decoder(kColumns);
    view.decoder = &decoder;
    expect_uploaded(Points(view), 0, n);
}

TEST_F(Upload, WhatTheTakerThrowsReachesTheCaller) {
    const int64_t n = 20 * kBlock / 64;
    const Bytes source = counted(n * 64);
    const Points points(view_of(source.data(), n, 64, DType::u8));
    const cuda::Stream stream;
    for (const int threads : {1, 16}) {
        set_num_threads(threads);
        int calls = 0;
        EXPECT_THROW(
                cuda::upload(
                        points,
                        0,
                        n,
                        stream.get(),
                        [&](const void*, int64_t, int64_t) {
                            if (++calls == 7) {
                                throw std::domain_error("enough");
                            }
                        }),
                std::domain_error);
        EXPECT_GE(calls, 7);
        EXPECT_LE(calls, 7 + threads); // those that had a block ready
    }
    expect_uploaded(points, 0, n);
}

struct SlowDecoder final : Decoder {
    using Decoder::Decoder;
    void before(int64_t /*n*/, const uint8_t* /*codes*/) const override {
        std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
};

/// The caller is asked every 50 ms, on its own thread, though another's block takes longer; and
/// what it throws stops the others long before they are done.
TEST_F(Upload, CanBeStopped) {
    constexpr int64_t kColumns = 256;
    const int64_t n = 64 * kBlock / (4 * kColumns);
    const Bytes codes = counted(n * kColumns);
    const SlowDecoder slow(kColumns);
    VectorView view = view_of(codes.data(), n, kColumns, DType::u8, kColumns);
    view.decoder = &slow;
    for (const int threads : {1, 4}) {
        SCOPED_TRACE(threads);
        set_num_threads(threads);
        slow.calls = 0;
        int asked = 0;
        auto last = std::chrono::steady_clock::now();
        std::chrono::duration<double> longest(0);
        const auto caller = std::this_thread::get_id();
        const std::function<void()> poll = [&] {
            EXPECT_EQ(std::this_thread::get_id(), caller);
            longest = std::max<std::chrono::duration<double>>(
                    longest, std::chrono::steady_clock::now() - last);
            last = std::chrono::steady_clock::now();
            if (++asked == 3) {
                throw std::runtime_error("stop");
            }
        };
        {
            const Polling polling(poll);
            EXPECT_THROW(uploaded_packed(Points(view), 0, n), std::runtime_error);
        }
        EXPECT_EQ(asked, 3);
        EXPECT_LT(longest.count(), 0.5); // on a machine that does other things too
        EXPECT_LT(slow.calls, threads * 60);
    }
    const Decoder fast(kColumns);
    view.decoder = &fast;
    expect_uploaded(Points(view), 0, n);
}

struct PinnedFree {
    void operator()(uint8_t* memory) const { cudaFreeHost(memory); }
};

/// From cudaMallocHost() and the like, whatever the caller says of it.
TEST_F(Upload, PageLockedRows) {
    constexpr int64_t kColumns = 100;
    const int64_t n = 17 * kBlock / kColumns;
    const Bytes source = counted(n * kColumns);
    for (const MemorySpace space : {MemorySpace::host, MemorySpace::pinned, MemorySpace::mapped}) {
        void* memory = nullptr;
        const bool mapped = space == MemorySpace::mapped;
        cuda::check(
                cudaHostAlloc(
                        &memory,
                        source.size(),
                        mapped ? cudaHostAllocMapped : cudaHostAllocDefault),
                "page-locked memory");
        const std::unique_ptr<uint8_t, PinnedFree> rows(static_cast<uint8_t*>(memory));
        std::copy(source.begin(), source.end(), rows.get());
        for (const int64_t width : {kColumns, kColumns - 9}) { // packed, strided
            VectorView view = view_of(rows.get(), n, width, DType::u8, kColumns);
            view.space = space;
            expect_uploaded(Points(view), 0, n);
            expect_uploaded(Points(view), 1, n - 3);
            std::vector<int64_t> selection(static_cast<size_t>(n));
            for (int64_t i = 0; i < n; i++) {
                selection[static_cast<size_t>(i)] = i * 31 % n;
            }
            expect_uploaded(Points(view, selection), 0, n);
        }
    }
}

/// Pieces in place are counted by those who take them: one piece of 4 MiB, not four blocks.
TEST_F(Upload, PageLockedRowsAreNotCopied) {
    constexpr int64_t kColumns = 1024;
    constexpr int64_t kRows = 4096;
    void* memory = nullptr;
    cuda::check(cudaMallocHost(&memory, kRows * kColumns), "page-locked memory");
    const std::unique_ptr<uint8_t, PinnedFree> rows(static_cast<uint8_t*>(memory));
    const Bytes pageable(kRows * kColumns);
    const cuda::Stream stream;
    const auto pieces = [&](const uint8_t* data) {
        int count = 0;
        cuda::upload(
                Points(view_of(data, kRows, kColumns, DType::u8)),
                0,
                kRows,
                stream.get(),
                [&](const void*, int64_t, int64_t) { count++; });
        return count;
    };
    EXPECT_EQ(pieces(rows.get()), 1);
    EXPECT_EQ(pieces(pageable.data()), 4);
}

/// Memory that the caller has registered, wholly, in two parts, or but for some in its middle.
TEST_F(Upload, RegisteredRows) {
    struct Free {
        void operator()(void* memory) const { std::free(memory); }
    };
    constexpr int64_t kColumns = 512;
    const int64_t bytes = 12 * kBlock;
    const std::unique_ptr<void, Free> memory(std::aligned_alloc(kPage, static_cast<size_t>(bytes)));
    auto* rows = static_cast<uint8_t*>(memory.get());
    const Bytes source = counted(bytes);
    std::copy(source.begin(), source.end(), rows);
    const Points points(view_of(rows, bytes / kColumns, kColumns, DType::u8));
    const Points strided(view_of(rows, bytes / kColumns, kColumns - 1, DType::u8, kColumns));
    const auto lock = [](uint8_t* from, int64_t count) {
        cuda::check(
                cudaHostRegister(from, static_cast<size_t>(count), cudaHostRegisterDefault),
                "registering");
    };
    const auto check_all = [&] {
        expect_uploaded(points, 0, points.n());
        expect_uploaded(points, 7, points.n() - 9);
        expect_uploaded(strided, 0, points.n());
    };
    {
        SCOPED_TRACE("wholly");
        lock(rows, bytes);
        check_all();
        cuda::check(cudaHostUnregister(rows), "unregistering");
    }
    {
        SCOPED_TRACE("two parts");
        lock(rows, 5 * kBlock + 3 * kPage);
        lock(rows + 5 * kBlock + 3 * kPage, 7 * kBlock - 3 * kPage);
        check_all();
        cuda::check(cudaHostUnregister(rows), "unregistering");
        cuda::check(cudaHostUnregister(rows + 5 * kBlock + 3 * kPage), "unregistering");
    }
    {
        SCOPED_TRACE("but for some in the middle");
        lock(rows, 5 * kBlock);
        lock(rows + 6 * kBlock, 6 * kBlock);
        check_all();
        cuda::check(cudaHostUnregister(rows + 6 * kBlock), "unregistering");
        SCOPED_TRACE("the first part only");
        check_all();
        cuda::check(cudaHostUnregister(rows), "unregistering");
    }
}

TEST_F(Upload, ManagedRows) {
    constexpr int64_t kColumns = 512;
    const int64_t bytes = 6 * kBlock;
    const Bytes source = counted(bytes);
    void* memory = nullptr;
    cuda::check(cudaMallocManaged(&memory, source.size()), "managed memory");
    const test::DevicePointer owner(memory);
    std::memcpy(memory, source.data(), source.size());
    expect_uploaded(Points(view_of(memory, bytes / kColumns, kColumns, DType::u8)), 0, 1000);
    expect_uploaded(
            Points(view_of(memory, bytes / kColumns, kColumns, DType::u8)), 0, bytes / kColumns);
}

/// A caller who wants to stop while page-locked rows are on their way.
TEST_F(Upload, PageLockedRowsCanBeStopped) {
    constexpr int64_t kColumns = 1024;
    const int64_t bytes = int64_t{192} << 20;
    void* memory = nullptr;
    cuda::check(cudaMallocHost(&memory, static_cast<size_t>(bytes)), "page-locked memory");
    const std::unique_ptr<uint8_t, PinnedFree> rows(static_cast<uint8_t*>(memory));
    const Points points(view_of(rows.get(), bytes / kColumns, kColumns, DType::u8));
    const cuda::Stream stream;
    const test::Output<uint8_t> to(static_cast<size_t>(bytes));
    const std::chrono::milliseconds until_due(60);
    int asked = 0;
    const std::function<void()> poll = [&] {
        if (++asked == 2) { // with a piece on its way
            throw std::runtime_error("stop");
        }
        std::this_thread::sleep_for(until_due);
    };
    const Polling polling(poll);
    std::this_thread::sleep_for(until_due);
    EXPECT_THROW(
            cuda::upload_packed(points, 0, points.n(), to.get(), stream.get()), std::runtime_error);
    EXPECT_EQ(cudaStreamQuery(stream.get()), cudaSuccess) << "rows are still read";
}

/// Nothing but the staging is taken of the device, whatever the number of threads and rows.
TEST_F(Upload, DeviceMemoryIsBounded) {
    constexpr int64_t kColumns = 96;
    const int64_t n = 50 * kBlock / kColumns;
    const Bytes source = counted(n * kColumns);
    const Points points(view_of(source.data(), n, kColumns, DType::u8));
    const auto most = [&](const std::function<void()>& work) {
        uint64_t bytes = 0;
        cuda::check(
                cudaMemPoolSetAttribute(cuda::memory_pool(), cudaMemPoolAttrUsedMemHigh, &bytes),
                "the pool");
        work();
        cuda::check(
                cudaMemPoolGetAttribute(cuda::memory_pool(), cudaMemPoolAttrUsedMemHigh, &bytes),
                "the pool");
        return static_cast<int64_t>(bytes);
    };
    set_num_threads(40);
    EXPECT_EQ(most([&] { uploaded_packed(points, 0, n); }), 0);
    constexpr int64_t kGranule = 512; // of the pool
    for (const int64_t count : {int64_t{10}, n}) {
        const int64_t taken = most([&] { uploaded_in_pieces(points, 0, count); });
        EXPECT_GE(taken, cuda::upload_bytes(count, kColumns));
        EXPECT_LT(taken, cuda::upload_bytes(count, kColumns) + kGranule);
    }
    EXPECT_LE(cuda::upload_bytes(n, kColumns), 4 * kBlock);
}

/// The blocks of one call are the next one's, whatever their sizes.
TEST_F(Upload, BlocksAreUsedAgain) {
    const Bytes source = counted(3 * kBlock);
    const auto upload_all = [&] {
        for (int64_t n = 1; n <= 3 * kBlock / 64; n += 3331) {
            const Points points(view_of(source.data(), n, 64, DType::u8));
            EXPECT_TRUE(uploaded_packed(points, 0, n) == expected_rows(points, 0, n));
        }
    };
    const auto kept = [] {
        std::vector<void*> blocks = {cuda::take_pinned(cuda::kPinnedBlock), cuda::take_pinned(1)};
        for (void* block : blocks) {
            cuda::give_back_pinned(block, cuda::kPinnedBlock);
        }
        std::sort(blocks.begin(), blocks.end());
        return blocks;
    };
    set_num_threads(1);
    upload_all();
    const std::vector<void*> before = kept();
    upload_all();
    EXPECT_EQ(kept(), before);
}

/// Calls from threads of the caller's own at a time, each on its stream.
TEST_F(Upload, AtTheSameTime) {
    const int64_t n = 7 * kBlock / 64 + 5;
    const Bytes source = counted(n * 64);
    const Points points(view_of(source.data(), n, 64, DType::u8));
    const Bytes expected = expected_rows(points, 0, n);
    std::vector<std::thread> threads;
    for (int i = 0; i < 6; i++) {
        threads.emplace_back([&] {
            for (int round = 0; round < 10; round++) {
                EXPECT_TRUE(uploaded_packed(points, 0, n) == expected);
                EXPECT_TRUE(uploaded_in_pieces(points, 0, n) == expected);
            }
        });
    }
    for (std::thread& thread : threads) {
        thread.join();
    }
}

} // namespace
} // namespace faiss_flash
