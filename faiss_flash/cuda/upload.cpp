#include <faiss_flash/cuda/upload.h>

#include <faiss_flash/core/parallel.h>
#include <faiss_flash/cuda/runtime/buffer.h>
#include <faiss_flash/cuda/runtime/copy.h>
#include <faiss_flash/cuda/runtime/pinned.h>

#include <algorithm>

namespace faiss_flash::cuda {

namespace {

/// Rows on their way at a time.
int64_t rows_at_a_time(int64_t n, int64_t d) {
    return std::max<int64_t>(1, std::min(n, static_cast<int64_t>(kPinnedBlock) / (4 * d)));
}

} // namespace

int64_t upload_bytes(int64_t n, int64_t d) {
    return rows_at_a_time(n, d) * 4 * d;
}

void upload(
        const Points& points,
        int64_t first,
        int64_t n,
        cudaStream_t stream,
        const std::function<void(const float* rows, int64_t done, int64_t count)>& take) {
    constexpr int64_t kPieceBytes = int64_t{256} << 10; // of a buffer, filled by one thread
    const int64_t d = points.d();
    const int64_t row_bytes = 4 * d;
    const int64_t rows = rows_at_a_time(n, d);
    const int64_t piece = std::max<int64_t>(1, kPieceBytes / row_bytes);
    PinnedPair<float> staging(static_cast<size_t>(rows * d));
    const Buffer<float> floats(static_cast<size_t>(rows * d), stream);
    for (int64_t done = 0; done < n; done += rows) {
        const int64_t count = std::min(rows, n - done);
        float* buffer = staging.next();
        for_each_range(count, piece, [&](int64_t begin, int64_t end) {
            float* to = buffer + begin * d;
            const RowBlock block = points.read(first + done + begin, end - begin, to);
            for (int64_t i = 0; i < end - begin && block.data != to; i++) {
                std::copy_n(block.row(i), d, to + i * d);
            }
        });
        copy(floats.get(), buffer, count * d, cudaMemcpyHostToDevice, stream);
        staging.in_use(stream);
        take(floats.get(), done, count);
    }
    staging.wait();
}

} // namespace faiss_flash::cuda
