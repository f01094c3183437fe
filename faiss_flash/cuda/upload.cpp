#include <faiss_flash/cuda/upload.h>

#include <faiss_flash/core/packed_rows.h>
#include <faiss_flash/core/parallel.h>
#include <faiss_flash/core/progress.h>
#include <faiss_flash/cuda/runtime/buffer.h>
#include <faiss_flash/cuda/runtime/device_guard.h>
#include <faiss_flash/cuda/runtime/pinned.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <mutex>
#include <optional>
#include <thread>
#include <vector>

namespace faiss_flash::cuda {

namespace {

constexpr int64_t kStagingBytes = int64_t{4} << 20;  // of the device, for rows that do not stay
constexpr int64_t kInPlaceBytes = int64_t{64} << 20; // copied between two looks at the caller
constexpr int64_t kFillBytes = int64_t{256} << 10;   // the same of a block that is filled
// A thread has two blocks, which stay in its core's cache: plain stores into them never reach the
// host's memory, and the device reads them from the cache. More threads bring little (NOTES.md).
constexpr int64_t kBlockBytes = int64_t{kPinnedBlock};
constexpr int64_t kMostThreads = kUploadHostBytes / (2 * kBlockBytes);

/// Rows of so many bytes that make up `bytes`, or one.
int64_t rows_in(int64_t bytes, int64_t row_bytes) {
    return std::max<int64_t>(1, bytes / row_bytes);
}

/// Memory that the driver allocated page-locked or has registered, whatever the caller says of it.
bool is_page_locked(const void* byte) {
    cudaPointerAttributes attributes{};
    if (cudaPointerGetAttributes(&attributes, byte) != cudaSuccess) {
        cudaGetLastError();
        return false;
    }
    return attributes.type == cudaMemoryTypeHost;
}

/// A little while that leaves the core, and the driver's locks, to those who have work.
void pause() {
    std::this_thread::sleep_for(std::chrono::microseconds(20));
}

/// One upload. All copies are queued on the caller's stream: what follows there sees the rows
/// without an event, and one stream is enough, as the device copies one block at a time anyway and
/// blocks come slower than it could.
class Upload {
   public:
    /// @param to    [n x row_bytes], or [upload_bytes()] where rows do not stay
    /// @param take  null where rows stay
    Upload(const Points& points,
           int64_t first,
           int64_t n,
           uint8_t* to,
           const TakeRows* take,
           cudaStream_t stream)
        : points_(points),
          first_(first),
          n_(n),
          row_bytes_(packed_row_bytes(points)),
          to_(to),
          take_(take),
          stream_(stream),
          progress_("Uploading", n * row_bytes_) {}

    void run() {
        const int64_t done = in_place() ? copy_in_place() : 0;
        if (done < n_) {
            copy_through_blocks(done);
        }
    }

   private:
    /// Row i of the upload, of points that are not selected.
    const uint8_t* row(int64_t i) const {
        const VectorView& view = points_.view();
        return static_cast<const uint8_t*>(view.data) + (first_ + i) * view.row_stride;
    }

    bool in_place() const {
        return n_ > 0 && !points_.selected() && !points_.view().decoder && is_page_locked(row(0)) &&
               is_page_locked(row(n_ - 1) + row_bytes_ - 1);
    }

    /// Rows done .. done + count - 1 from the host's `from`, where they are `stride` bytes apart.
    cudaError_t queue_copy(const uint8_t* from, int64_t stride, int64_t done, int64_t count) {
        uint8_t* to = take_ ? to_ : to_ + done * row_bytes_;
        const auto bytes = static_cast<size_t>(row_bytes_);
        const auto rows = static_cast<size_t>(count);
        if (stride == row_bytes_) {
            return cudaMemcpyAsync(to, from, bytes * rows, cudaMemcpyHostToDevice, stream_);
        }
        const auto pitch = static_cast<size_t>(stride);
        return cudaMemcpy2DAsync(
                to, bytes, from, pitch, bytes, rows, cudaMemcpyHostToDevice, stream_);
    }

    void take(int64_t done, int64_t count) {
        if (take_) {
            (*take_)(to_, done, count);
        }
    }

    /// Returns the rows done. Not all of them where a piece is not one allocation, or has a stride
    /// that the device does not copy.
    int64_t copy_in_place() {
        const int64_t stride = points_.view().row_stride;
        const int64_t rows = rows_in(take_ ? kStagingBytes : kInPlaceBytes, row_bytes_);
        LastTwo copies; // no more: a caller who wants to stop waits for them
        int64_t done = 0;
        while (done < n_) {
            const int64_t count = std::min(rows, n_ - done);
            copies.wait_for_place();
            poll_if_due();
            const cudaError_t status = queue_copy(row(done), stride, done, count);
            if (status == cudaErrorInvalidValue || status == cudaErrorInvalidPitchValue) {
                cudaGetLastError();
                break;
            }
            check(status, "copying rows to the device");
            copies.queued(stream_);
            take(done, count);
            done += count;
            progress_.at(done * row_bytes_);
        }
        copies.wait();
        return done;
    }

    /// Rows from number `begin` on.
    void copy_through_blocks(int64_t begin) {
        const int64_t rows = rows_in(kBlockBytes, row_bytes_);
        const int64_t pair_bytes = 2 * rows * row_bytes_;
        Blocks blocks{begin, rows, (n_ - begin + rows - 1) / rows};
        const int64_t most = std::clamp<int64_t>(kUploadHostBytes / pair_bytes, 1, kMostThreads);
        const int64_t threads = std::min({most, blocks.count, int64_t{loop_threads()}});
        check(cudaGetDevice(&blocks.device), "asking for the current device");
        // Here, and not with the threads that fill them: the calling thread waits for the last
        // copies, and asks its caller meanwhile.
        std::vector<std::optional<PinnedPair>> pairs(static_cast<size_t>(threads));
        on_threads(threads, [&](int thread) {
            try {
                const DeviceGuard guard(blocks.device);
                PinnedPair& pair = pairs[static_cast<size_t>(thread)].emplace(
                        static_cast<size_t>(pair_bytes / 2));
                fill_blocks(blocks, pair, thread == 0);
                while (thread == 0 && !blocks.stopped && blocks.queued < blocks.count) {
                    poll_if_due();
                    tell(blocks);
                    std::this_thread::yield();
                }
            } catch (...) {
                blocks.stopped = true;
                throw;
            }
        });
        for (const auto& pair : pairs) {
            if (pair) {
                pair->wait();
            }
        }
        progress_.at(n_ * row_bytes_);
    }

    /// What the threads share.
    struct Blocks {
        const int64_t begin; ///< row of the first
        const int64_t rows;  ///< of each but the last
        const int64_t count;
        int device = 0;
        std::atomic<int64_t> next{0};
        std::atomic<int64_t> queued{0};
        std::atomic<bool> stopped{false}; ///< by an exception
        std::mutex queueing;              ///< a copy, and what becomes of the rows
    };

    void fill_blocks(Blocks& blocks, PinnedPair& pair, bool reports) {
        while (!blocks.stopped) {
            if (!pair.is_free()) {
                if (blocks.next >= blocks.count) {
                    return;
                }
                poll_if_due();
                pause();
                continue;
            }
            const int64_t block = blocks.next++;
            if (block >= blocks.count) {
                return;
            }
            const int64_t done = blocks.begin + block * blocks.rows;
            const int64_t count = std::min(blocks.rows, n_ - done);
            if (!fill(pair.block(), done, count, blocks.stopped)) {
                return;
            }
            {
                const std::lock_guard<std::mutex> lock(blocks.queueing);
                check(queue_copy(pair.block(), row_bytes_, done, count),
                      "copying rows to the device");
                pair.queued(stream_);
                take(done, count);
                blocks.queued++;
            }
            if (reports) {
                tell(blocks);
            }
        }
    }

    void tell(const Blocks& blocks) {
        progress_.at(std::min(n_, blocks.begin + blocks.queued * blocks.rows) * row_bytes_);
    }

    /// False where another thread stopped the upload.
    bool fill(uint8_t* block, int64_t done, int64_t count, const std::atomic<bool>& stopped) const {
        const int64_t piece = rows_in(kFillBytes, row_bytes_);
        for (int64_t i = 0; i < count; i += piece) {
            poll_if_due();
            if (stopped) {
                return false;
            }
            copy_packed(
                    points_, first_ + done + i, std::min(piece, count - i), block + i * row_bytes_);
        }
        return true;
    }

    const Points& points_;
    const int64_t first_, n_;
    const int64_t row_bytes_;
    uint8_t* const to_;
    const TakeRows* const take_;
    const cudaStream_t stream_;
    Progress progress_;
};

} // namespace

void upload_packed(const Points& points, int64_t first, int64_t n, void* to, cudaStream_t stream) {
    if (n > 0) {
        Upload(points, first, n, static_cast<uint8_t*>(to), nullptr, stream).run();
    }
}

void upload(
        const Points& points, int64_t first, int64_t n, cudaStream_t stream, const TakeRows& take) {
    if (n == 0) {
        return;
    }
    const auto bytes = static_cast<size_t>(upload_bytes(n, packed_row_bytes(points)));
    const Buffer<uint8_t> staging(bytes, stream);
    Upload(points, first, n, staging.get(), &take, stream).run();
}

int64_t upload_bytes(int64_t n, int64_t row_bytes) {
    return std::min(n, rows_in(kStagingBytes, row_bytes)) * row_bytes;
}

} // namespace faiss_flash::cuda
