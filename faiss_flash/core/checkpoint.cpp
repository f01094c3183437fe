#include <faiss_flash/core/checkpoint.h>

#include <faiss_flash/core/sampling.h>

#include <cerrno>
#include <filesystem>
#include <fstream>
#include <string>
#include <system_error>
#include <utility>

namespace faiss_flash {

namespace {

std::string resolved(const std::string& path) {
    std::error_code failed;
    const auto found = std::filesystem::weakly_canonical(path, failed);
    return failed ? path : found.string();
}

/// None where there is no such file.
std::optional<LloydState> read_file(const std::string& path) {
    std::error_code failed;
    if (std::filesystem::exists(path, failed) && !std::filesystem::is_regular_file(path, failed)) {
        throw Error("checkpoint=" + path + ": " + path + " is not a regular file");
    }
    std::ifstream in(path, std::ios::binary);
    if (!in) {
        if (errno == ENOENT) {
            return std::nullopt;
        }
        const int reason = errno;
        throw Error(
                "checkpoint=" + path +
                ": cannot read it: " + std::generic_category().message(reason));
    }
    try {
        LloydState state = read_state(in);
        if (in.peek() != std::ifstream::traits_type::eof()) {
            throw Error("damaged: there is more behind its end");
        }
        return state;
    } catch (const Error& error) {
        throw Error("checkpoint=" + path + " is " + error.what());
    }
}

} // namespace

Checkpoint::Checkpoint(const KMeansOptions& options)
    : options_(options),
      path_(resolved(options.checkpoint)),
      resumed_(options.resume ? read_file(path_) : std::nullopt),
      seed_(options.seed < 0 && resumed_ ? resumed_->seed : resolve_seed(options.seed)) {}

void Checkpoint::begin(
        const Backend& backend,
        const Problem& problem,
        const std::vector<float>& initial,
        int64_t k) {
    fingerprint_ = fingerprint_of(backend, problem, initial, k, options_);
    const auto values = static_cast<size_t>(k * problem.points.d());
    if (resumed_) {
        const LloydState& state = *resumed_;
        const std::string other = difference(state.fingerprint, fingerprint_);
        if (!other.empty()) {
            throw InvalidArgument("checkpoint=" + options_.checkpoint + " is of " + other);
        }
        // Nobody writes these; a file that somebody has made must do no harm.
        const auto iterations = static_cast<int64_t>(state.stats.size());
        const bool sound = state.redo >= 0 && state.redo < options_.nredo &&
                           state.iterations >= 0 && state.iterations <= options_.niter &&
                           state.iterations <= iterations && (state.over || state.iterations > 0) &&
                           state.best_iterations >= 0 && state.best_iterations <= iterations &&
                           (finished() || state.centroids.size() == values) &&
                           (state.over || state.redo > 0 ? state.best_centroids.size() == values
                                                         : state.best_centroids.empty());
        if (!sound) {
            throw Error("checkpoint=" + options_.checkpoint + " is damaged: sizes do not fit");
        }
    }
    if (!finished()) {
        writer_.emplace(path_, 2 * static_cast<int64_t>(values));
    }
}

void Checkpoint::check(const RowFacts& facts) {
    fingerprint_.facts = hash_of(facts);
    if (resumed_ && resumed_->fingerprint.facts != fingerprint_.facts) {
        throw InvalidArgument("checkpoint=" + options_.checkpoint + " is of other points");
    }
}

bool Checkpoint::finished() const {
    return resumed_ && resumed_->over && resumed_->redo + 1 == options_.nredo;
}

void Checkpoint::offer(const std::function<LloydState()>& fetch) {
    writer_->offer([&] { return signed_state(fetch()); });
}

void Checkpoint::finish(LloydState state) {
    writer_->finish(signed_state(std::move(state)));
}

LloydState Checkpoint::signed_state(LloydState state) const {
    state.fingerprint = fingerprint_;
    state.seed = seed_;
    return state;
}

} // namespace faiss_flash
