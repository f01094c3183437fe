/// The checkpoint of a call of kmeans(): what KMeansOptions::checkpoint and ::resume ask for.
#pragma once

#include <faiss_flash/core/backend.h>
#include <faiss_flash/core/checkpoint_writer.h>
#include <faiss_flash/core/lloyd_state.h>
#include <faiss_flash/kmeans.h>

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

namespace faiss_flash {

/// Owns the file's name, the state to go on from and the writer of new ones.
class Checkpoint {
   public:
    /// Reads the file where a run is to be resumed and there is one. Throws Error naming it where
    /// it cannot be read or is none of ours.
    /// @param options  as the caller gave them, with a checkpoint; must outlive this
    explicit Checkpoint(const KMeansOptions& options);

    /// The seed of the run: the stored one, or the clock's, where the caller left it to the clock.
    int64_t seed() const { return seed_; }

    /// Before the first iteration on a backend, once for each that is tried. Throws
    /// InvalidArgument where the stored state is of another run, Error where the file cannot be
    /// written.
    /// @param initial  [m x d], m <= k
    void begin(
            const Backend& backend,
            const Problem& problem,
            const std::vector<float>& initial,
            int64_t k);

    /// The same for what the first pass over all rows has found.
    void check(const RowFacts& facts);

    /// The state to go on from; null: from the start.
    const LloydState* resumed() const { return resumed_ ? &*resumed_ : nullptr; }
    /// True where nothing is left to run.
    bool finished() const;

    /// These are CheckpointWriter's; the states' fingerprint and seed are filled in here.
    bool due() { return writer_->due(); }
    void offer(const std::function<LloydState()>& fetch);
    void finish(LloydState state);

   private:
    LloydState signed_state(LloydState state) const;

    const KMeansOptions& options_;
    const std::string path_; ///< the file's own: absolute, without links
    std::optional<LloydState> resumed_;
    int64_t seed_;
    Fingerprint fingerprint_;
    std::optional<CheckpointWriter> writer_;
};

} // namespace faiss_flash
