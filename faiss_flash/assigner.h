/// Assignments to the same centroids again and again: these are checked, converted and tabulated
/// once. For searches, and for rows that are added batch after batch.
#pragma once

#include <faiss_flash/kmeans.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

namespace faiss_flash {

/// Centroids ready for any number of assignments, from several threads at a time. Has a copy of
/// them, and what the devices that have assigned so far need: about 12 bytes a coordinate of the
/// host's memory, 4 of a GPU's.
class FAISS_FLASH_API PreparedAssigner {
   public:
    /// Throws as assign() does for its centroids, metric and device.
    PreparedAssigner(
            const VectorView& centroids, Metric metric, const std::string& device = "auto");
    ~PreparedAssigner();
    PreparedAssigner(const PreparedAssigner&) = delete;
    PreparedAssigner& operator=(const PreparedAssigner&) = delete;

    /// What the function assign() does, to the same bits.
    void assign(
            const VectorView& points,
            int64_t* ids,
            float* distances,
            const std::function<void()>& poll = nullptr) const;

    /// Whether its centroids are these, bit for bit.
    bool holds(const VectorView& centroids) const;

   private:
    struct Parts;
    const std::unique_ptr<Parts> parts_;
};

/// What assign() does, for centroids that come again at the same address: a PreparedAssigner of
/// them is kept, and every call compares all its centroids with those given, so that each call sees
/// them as they are. The process keeps the last 8 of these, of 256 MiB in all; larger centroids are
/// assigned to as by assign().
FAISS_FLASH_API void assign_again(
        const VectorView& points,
        const VectorView& centroids,
        Metric metric,
        int64_t* ids,
        float* distances,
        const std::string& device = "auto",
        const std::function<void()>& poll = nullptr);

} // namespace faiss_flash
