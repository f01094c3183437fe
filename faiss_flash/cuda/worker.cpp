#include <faiss_flash/cuda/worker.h>

#include <faiss_flash/cuda/assign_rows.h>
#include <faiss_flash/cuda/assigner.h>
#include <faiss_flash/cuda/centroids.h>
#include <faiss_flash/cuda/moving_averages.h>
#include <faiss_flash/cuda/rows.h>
#include <faiss_flash/cuda/runtime/device_guard.h>
#include <faiss_flash/cuda/runtime/graph.h>
#include <faiss_flash/cuda/runtime/stream.h>
#include <faiss_flash/cuda/shard.h>
#include <faiss_flash/cuda/update/add_sums.h>
#include <faiss_flash/cuda/upload.h>

#include <algorithm>
#include <optional>
#include <vector>

namespace faiss_flash::cuda {

namespace {

/// Adds on the device that all parts are on.
class DeviceReducer final : public Reducer {
   public:
    DeviceReducer(const SumFormat& format, cudaStream_t stream)
        : stream_(stream), total_(static_cast<size_t>(most(format)), stream) {}

    Sums add(const std::vector<Sums>& parts) override {
        const int64_t count = parts.front().count;
        add_sums(parts, total_.get(), stream_);
        return {total_.get(), count, count};
    }

   private:
    /// Integers of the sums or of the squares, which are added before all of them.
    static int64_t most(const SumFormat& format) {
        const Workload& workload = format.workload;
        return std::max(format.sums.count(), workload.batch * format.square_limbs * workload.d);
    }

    const cudaStream_t stream_;
    const Buffer<int64_t> total_;
};

class CudaWorker final : public Worker {
   public:
    CudaWorker(int device, const Workload& workload)
        : device_(device), workload_(workload), method_(method_for(workload)) {
        const DeviceGuard guard(device);
        bytes_ = device_bytes(workload);
        require_within(workload.memory_limit, "k-means", bytes_);
        require_room("k-means", bytes_);
        stream_.emplace();
    }
    ~CudaWorker() override {
        try {
            const DeviceGuard guard(device_);
            format_.reset();
            stream_.reset();
        } catch (const std::exception&) { // the device is lost, and all that was on it
        }
    }

    std::unique_ptr<Shard> open(const std::vector<Problem>& problems) override {
        wait_for_rows(problems, stream_->get());
        const auto format = [this](const Format& known) -> const SumFormat& {
            return agreed(known);
        };
        return open_shard(problems, workload_, method_, format, stream_->get());
    }

    std::unique_ptr<Centroids> centroids(const Format& format, const Sums* squares) override {
        if (workload_.batch_rows > 0) {
            const double scale =
                    usage_scale(format.facts.front(), workload_.batch_rows, workload_.k);
            return averages_on_device(agreed(format), scale, squares, stream_->get());
        }
        return centroids_on_device(agreed(format), squares, stream_->get());
    }

    std::unique_ptr<Reducer> reducer(const Format& format) override {
        return std::make_unique<DeviceReducer>(agreed(format), stream_->get());
    }

    /// Smaller chunks than without the limit may take longer than bringing the rows once more.
    std::optional<int64_t> limit_beside() const override {
        if (workload_.memory_limit == 0) {
            return 0;
        }
        VectorView rows;
        rows.d = workload_.d;
        rows.dtype = rows_type(method_, workload_);
        rows.space = MemorySpace::device;
        const int64_t left = workload_.memory_limit - bytes_;
        return left >= chunk_bytes(workload_.n, workload_.k, rows) ? std::make_optional(left)
                                                                   : std::nullopt;
    }

   private:
    int enter() const override {
        int before = 0;
        check(cudaGetDevice(&before), "asking for the current device");
        if (before != device_) {
            check(cudaSetDevice(device_), "choosing a device");
        }
        return before;
    }
    void leave(int before) const noexcept override {
        if (before != device_) {
            cudaSetDevice(before);
        }
    }

    /// The format on the device: the same for all pieces.
    const SumFormat& agreed(const Format& format) {
        if (!format_) {
            if (workload_.memory_limit > 0) { // what has been asked for before was of usual data
                bytes_ = device_bytes(workload_, &format);
                require_within(workload_.memory_limit, "k-means", bytes_);
            }
            format_.emplace(stream_->get(), [&](Arena& arena) {
                return SumFormat(format, workload_, rows_type(method_, workload_), arena);
            });
            (*format_)->load(format, stream_->get());
        }
        return **format_;
    }

    const int device_;
    const Workload workload_;
    const Method method_;
    int64_t bytes_ = 0; // of the device, that all takes
    std::optional<Stream> stream_;
    std::optional<Allocated<SumFormat>> format_;
};

/// Of data such as most: two limbs.
Format typical_format(const Workload& workload) {
    ColumnRange range(workload.d + 1);
    for (size_t j = 0; j < range.largest.size(); j++) {
        range.largest[j] = 4;
        range.smallest[j] = 0x1p-22;
    }
    return Format::plan(RowFacts(static_cast<size_t>(workload.batch), range), workload);
}

} // namespace

std::unique_ptr<Worker> start_worker(int device, const Workload& workload) {
    return std::make_unique<CudaWorker>(device, workload);
}

int64_t device_bytes(const Workload& workload, const Format* format) {
    const Method method = method_for(workload);
    const bool converts = method == Method::fast && dtype_size(workload.dtype) == 1;
    const bool in_place = workload.space == MemorySpace::device && !converts &&
                          workload.batch_rows == 0; // as a rule
    const Format typical = format ? Format() : typical_format(workload);
    const Format& known = format ? *format : typical;
    Arena arena;
    const SumFormat sums(known, workload, rows_type(method, workload), arena);
    const ShardBytes shard = shard_bytes(workload, method, in_place, sums);
    const int64_t centroids = workload.batch_rows > 0 ? average_bytes(sums) : centroid_bytes(sums);
    const int64_t all = arena.bytes() + shard.rows + shard.sums + centroids;
    // Rows that the fast method pads, and columns of a matrix, which come as its rows.
    const bool staged =
            workload.space != MemorySpace::device && (method == Method::fast || workload.batch > 1);
    const int64_t upload = upload_bytes(workload.n, 4 * workload.batch * workload.d);
    return std::max(all, shard.rows + (staged ? upload : 0));
}

} // namespace faiss_flash::cuda
