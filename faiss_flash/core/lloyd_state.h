/// A run of kmeans() between two iterations, and as bytes.
#pragma once

#include <faiss_flash/core/fingerprint.h>
#include <faiss_flash/kmeans.h>

#include <cstdint>
#include <iosfwd>
#include <vector>

namespace faiss_flash {

/// All that a run needs to go on to the same bits.
struct LloydState {
    Fingerprint fingerprint;
    int64_t seed = 0;       ///< the one in use: never negative
    int64_t redo = 0;       ///< number of the restart
    int64_t iterations = 0; ///< of that restart that have run
    bool over = false;      ///< no iteration of that restart is to come; best_* know of it
    /// [k x d] after the last of them; empty where the whole run is over.
    std::vector<float> centroids;
    std::vector<double> averages;      ///< Start::averages then; of e-means
    std::vector<float> best_centroids; ///< [k x d] of the restarts that are over; none yet: empty
    double best_objective = 0;
    int64_t best_iterations = 0;       ///< iterations of all restarts up to and including the best
    std::vector<IterationStats> stats; ///< of all restarts; their times go on where the run does
};

/// What the bytes of a state begin with.
inline constexpr uint64_t kStateMagic = 0x736e61656d6b6666; // "ffkmeans"

/// Little-endian, with a checksum at the end. Throws what the stream throws; else its state says
/// whether it took everything.
void write_state(const LloydState& state, std::ostream& out);

/// Reads one state and nothing behind it. Throws Error in words where it is none, of another
/// version, cut short or damaged; takes memory for what is there, not for what its sizes say.
LloydState read_state(std::istream& in);

} // namespace faiss_flash
