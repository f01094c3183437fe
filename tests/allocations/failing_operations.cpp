#include <allocations/failing_operations.h>
#include <faiss_flash/assigner.h>

#ifdef FAISS_FLASH_TEST_CUDA
#include <faiss_flash/cuda/runtime/pool.h>

#include <cuda/device_data.h>
#endif

#include <cstdio>
#include <new>

namespace faiss_flash::test {

namespace {

/// Of thousands of allocations not every one fails: all of the first, then ever fewer.
#ifdef __SANITIZE_ADDRESS__
constexpr int64_t kDense = 8;
#else
constexpr int64_t kDense = 40;
#endif

int64_t used_device_bytes() {
#ifdef FAISS_FLASH_TEST_CUDA
    if (available_backends().front() != "cpu") {
        uint64_t used = 0;
        cuda::check(
                cudaMemPoolGetAttribute(cuda::memory_pool(), cudaMemPoolAttrUsedMemCurrent, &used),
                "the pool");
        return static_cast<int64_t>(used);
    }
#endif
    return 0;
}

/// What is kept for later would be no allocation.
void forget_pinned_memory() {
#ifdef FAISS_FLASH_TEST_CUDA
    if (available_backends().front() != "cpu") {
        std::vector<void*> all;
        while (all.size() < 80) { // more than are kept
            all.push_back(cuda::take_pinned(1));
        }
        for (void* block : all) {
            cudaFreeHost(block);
        }
    }
#endif
}

/// Assignments to other centroids push out those that are kept on the device for an index.
void forget_kept_centroids() {
    constexpr int64_t kKept = 8;
    static const std::vector<float> values(kKept); // at one address: the last ones are found again
    for (int64_t k = 1; k <= kKept; k++) {
        int64_t id = -1;
        assign_again(
                VectorView::of(values.data(), 1, 1),
                VectorView::of(values.data(), k, 1),
                Metric::l2,
                &id,
                nullptr,
                "cpu");
    }
}

/// One by one, every allocation of the operation fails.
void fail_each(const Operation& operation, Allocated kind, bool all_later) {
    const Outcome expected = operation.run();
    const Outcome on_host = operation.on_host();
    int64_t exceptions = 0;
    int64_t results = 0;
    for (int64_t nth = 1;; nth += 1 + nth / kDense) {
        Outcome outcome;
        bool returned = false;
        if (kind == Allocated::pinned) {
            forget_pinned_memory();
        }
        fail_allocation(kind, nth, all_later);
        try {
            outcome = operation.run();
            returned = true;
        } catch (const std::bad_alloc&) {
        } catch (const OutOfDeviceMemory&) {
            EXPECT_NE(kind, Allocated::host);
        } catch (const std::exception& error) {
            stop_failing();
            ADD_FAILURE() << "allocation " << nth << ": " << error.what();
        }
        const bool failed = stop_failing();
        exceptions += !returned;
        results += returned && failed;
        if (returned) {
            ASSERT_TRUE(outcome == expected || outcome == on_host) << "allocation " << nth;
        }
        forget_kept_centroids();
        ASSERT_EQ(used_device_bytes(), 0) << "allocation " << nth;
        if (!failed) {
            break;
        }
        if (nth % 5 == 0) {
            ASSERT_EQ(operation.run(), expected) << "after allocation " << nth;
        }
    }
    EXPECT_EQ(operation.run(), expected);
    std::printf("    %ld exceptions, %ld results\n", long(exceptions), long(results));
    // A device that has no room leaves the work to the host; the host has nobody to leave it to.
    EXPECT_GT(kind == Allocated::host ? exceptions : results, 0);
}

int64_t resident_bytes() {
    long pages = 0;
    long resident = 0;
    std::FILE* file = std::fopen("/proc/self/statm", "r");
    EXPECT_EQ(std::fscanf(file, "%ld %ld", &pages, &resident), 2);
    std::fclose(file);
    return int64_t{resident} * 4096;
}

} // namespace

void fail_all(const std::vector<Operation>& operations, Allocated kind) {
    for (const Operation& operation : operations) {
        SCOPED_TRACE(operation.name);
        operation.run();
        used_device_bytes(); // makes a context, where there is a device
        [[maybe_unused]] const int64_t before = resident_bytes();
        for (const bool all_later : {false, true}) {
            fail_each(operation, kind, all_later);
        }
#ifndef __SANITIZE_ADDRESS__ // which keeps what is freed, and looks for leaks itself
        // Each of some hundred failures would lose at least the points.
        EXPECT_LT(resident_bytes() - before, int64_t{24} << 20);
#endif
    }
}

} // namespace faiss_flash::test
