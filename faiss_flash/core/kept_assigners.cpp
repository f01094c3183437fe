#include <faiss_flash/assigner.h>

#include <faiss_flash/core/arguments.h>
#include <faiss_flash/core/interrupt.h>

#include <algorithm>
#include <iterator>
#include <list>
#include <memory>
#include <mutex>
#include <numeric>
#include <string>
#include <utility>

namespace faiss_flash {

namespace {

/// Where centroids come from; what they are is compared.
struct Source {
    const void* data;
    int64_t k, d, row_stride;
    DType dtype;
    Metric metric;
    std::string device;

    bool operator==(const Source& other) const {
        return data == other.data && k == other.k && d == other.d &&
               row_stride == other.row_stride && dtype == other.dtype && metric == other.metric &&
               device == other.device;
    }
};

/// The assigners that were used last.
class KeptAssigners {
   public:
    using Assigner = std::shared_ptr<const PreparedAssigner>;

    static bool has_room_for(const Source& source) { return bytes(source) <= kMostBytes; }

    /// Null where there is none.
    Assigner find(const Source& source) {
        const std::lock_guard<std::mutex> lock(mutex_);
        const auto found = entry(source);
        if (found == entries_.end()) {
            return nullptr;
        }
        entries_.splice(entries_.begin(), entries_, found);
        return found->assigner;
    }

    /// In the place of one of the same source, and of those not used for longest. What goes is
    /// destroyed when the lock is not held any more.
    void keep(const Source& source, const Assigner& assigner) {
        std::list<Entry> gone;
        std::list<Entry> added{{source, assigner}};
        const std::lock_guard<std::mutex> lock(mutex_);
        if (const auto old = entry(source); old != entries_.end()) {
            gone.splice(gone.end(), entries_, old);
        }
        entries_.splice(entries_.begin(), added);
        const auto held = [&] {
            return std::accumulate(
                    entries_.begin(), entries_.end(), 0.0, [](double sum, const auto& one) {
                        return sum + bytes(one.source);
                    });
        };
        while (entries_.size() > kMost || held() > kMostBytes) {
            gone.splice(gone.end(), entries_, std::prev(entries_.end()));
        }
    }

   private:
    struct Entry {
        Source source;
        Assigner assigner;
    };
    static constexpr size_t kMost = 8;
    static constexpr double kMostBytes = 256 << 20;

    /// Centroids, and tables of them in float32 and in 8 bits, with a few numbers for each.
    static double bytes(const Source& source) {
        return 12 * static_cast<double>(source.k) * static_cast<double>(source.d + 8);
    }

    std::list<Entry>::iterator entry(const Source& source) {
        return std::find_if(entries_.begin(), entries_.end(), [&](const Entry& one) {
            return one.source == source;
        });
    }

    std::mutex mutex_;
    std::list<Entry> entries_; // the last used first
};

/// Never destroyed: threads may assign while the process ends.
KeptAssigners& kept_assigners() {
    static auto* kept = new KeptAssigners;
    return *kept;
}

} // namespace

void assign_again(
        const VectorView& points,
        const VectorView& centroids,
        Metric metric,
        int64_t* ids,
        float* distances,
        const std::string& device,
        const std::function<void()>& poll) {
    const Source source{
            centroids.data,
            centroids.n,
            centroids.d,
            centroids.row_stride,
            centroids.dtype,
            metric,
            device};
    const Polling polling(poll);
    check_view(points, "points");
    check_host_view(centroids, "centroids");
    if (centroids.decoder || !KeptAssigners::has_room_for(source)) {
        assign(points, centroids, metric, ids, distances, device, poll);
        return;
    }
    auto assigner = kept_assigners().find(source);
    if (!assigner || !assigner->holds(centroids)) {
        assigner = std::make_shared<const PreparedAssigner>(centroids, metric, device);
        kept_assigners().keep(source, assigner);
    }
    assigner->assign(points, ids, distances, poll);
}

} // namespace faiss_flash
