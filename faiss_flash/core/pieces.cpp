#include <faiss_flash/core/pieces.h>

#include <faiss_flash/core/interrupt.h>

#include <algorithm>
#include <exception>
#include <utility>

namespace faiss_flash {

Pieces::Pieces(
        const Backend& backend,
        const std::vector<Problem>& problems,
        const Workload& workload,
        const std::vector<int64_t>& cuts,
        std::optional<EmeansSchedule> schedule)
    : backend_(backend), worker_(backend.start(workload)), schedule_(schedule) {
    const Worker::Here here(*worker_);
    try {
        make(problems, workload, cuts);
    } catch (...) {
        clear();
        throw;
    }
}

Pieces::~Pieces() {
    try {
        const Worker::Here here(*worker_);
        clear();
    } catch (const std::exception&) { // the device is lost, and all that was on it
    }
}

void Pieces::make(
        const std::vector<Problem>& problems,
        const Workload& workload,
        const std::vector<int64_t>& cuts) {
    open(problems, workload.n, cuts);
    RowFacts facts = shards_.front()->scan();
    for (size_t i = 1; i < shards_.size(); i++) {
        merge(facts, shards_[i]->scan());
    }
    if (!all_finite(facts)) {
        throw NonFiniteRows();
    }
    format_ = Format::plan(std::move(facts), workload);
    for (const auto& shard : shards_) {
        shard->prepare(format_);
    }
    if (shards_.size() > 1) {
        reducer_ = worker_->reducer(format_);
    }
    if (format_.squares.empty()) {
        centroids_ = worker_->centroids(format_, nullptr);
    } else {
        const Sums squares = add(&Shard::squares);
        centroids_ = worker_->centroids(format_, &squares);
    }
}

void Pieces::open(
        const std::vector<Problem>& problems, int64_t n, const std::vector<int64_t>& cuts) {
    ends_ = cuts;
    ends_.push_back(n);
    if (cuts.empty()) {
        shards_.push_back(worker_->open(problems));
        active_.push_back(shards_.front().get());
        return;
    }
    parts_.resize(ends_.size());
    int64_t first = 0;
    for (size_t i = 0; i < parts_.size(); i++) {
        const int64_t end = ends_[i];
        for (const auto& [points, weights] : problems) {
            const float* part_weights = weights ? weights + first : nullptr;
            parts_[i].push_back({points.part(first, end - first), part_weights});
        }
        shards_.push_back(worker_->open(parts_[i]));
        active_.push_back(shards_.back().get());
        first = end;
    }
}

void Pieces::load(
        const Start& start, const CentroidRules& rules, uint64_t seed, int64_t iterations) {
    const Worker::Here here(*worker_);
    centroids_->load(start, rules, [&](float* centroids) {
        int64_t first = 0;
        for (size_t i = 0; i < shards_.size(); i++) {
            std::vector<Seed> seeds;
            int64_t centroid = start.count;
            for (const int64_t row : start.rows) {
                if (first <= row && row < ends_[i]) {
                    seeds.push_back({row - first, centroid});
                }
                centroid++;
            }
            shards_[i]->seed(seeds, centroids);
            first = ends_[i];
        }
    });
    seed_ = seed;
    iterations_ = iterations;
    asked_ = 0;
    waited_ = 0;
}

void Pieces::ask(int most) {
    const Worker::Here here(*worker_);
    for (; asked_ < most && asked_ <= waited_ + centroids_->lookahead(); asked_++) {
        if (schedule_) {
            ask_for_epoch(iterations_ + asked_);
        } else {
            centroids_->iterate(iteration());
        }
    }
}

void Pieces::ask_for_epoch(int64_t epoch) {
    for (int64_t i = 0; i < schedule_->batches(); i++) {
        poll_if_due();
        const EmeansBatch batch = schedule_->batch(seed_, epoch, i);
        take(batch);
        Centroids::Iteration next = iteration();
        next.batch = batch;
        centroids_->iterate(next);
    }
}

void Pieces::take(const EmeansBatch& batch) {
    active_.clear();
    int64_t first = 0;
    for (size_t i = 0; i < shards_.size(); i++) {
        const int64_t begin = std::max(batch.first, first);
        const int64_t end = std::min(batch.first + batch.count, ends_[i]);
        if (begin < end) {
            shards_[i]->take(begin - first, end - begin);
            active_.push_back(shards_[i].get());
        }
        first = ends_[i];
    }
}

std::vector<IterationStats> Pieces::wait() {
    const Worker::Here here(*worker_);
    Centroids::Outcome outcome = centroids_->wait();
    waited_++;
    asked_ = outcome.again ? waited_ : asked_;
    for (const auto& shard : shards_) {
        shard->told(outcome.stats);
    }
    return std::move(outcome.stats);
}

void Pieces::store(const std::vector<float*>& to) {
    const Worker::Here here(*worker_);
    centroids_->store(to);
}

std::vector<double> Pieces::averages() {
    const Worker::Here here(*worker_);
    return centroids_->averages();
}

bool Pieces::assign(const std::vector<Assignment>& problems, int64_t k, Metric metric) {
    const Worker::Here here(*worker_);
    const std::optional<int64_t> limit = worker_->limit_beside();
    if (!limit) {
        return false;
    }
    int64_t first = 0;
    for (size_t i = 0; i < shards_.size(); i++) {
        const std::vector<Points> rows = shards_[i]->rows();
        if (rows.empty()) {
            return false;
        }
        std::vector<Assignment> part;
        for (size_t b = 0; b < rows.size(); b++) {
            const Assignment& all = problems[b];
            part.push_back(
                    {rows[b], all.centroids, all.ids + first, all.distances + first, *limit});
        }
        try {
            backend_.assign_batch(part, k, metric);
        } catch (const OutOfDeviceMemory&) {
            return false;
        }
        first = ends_[i];
    }
    return true;
}

Sums Pieces::add(Sums (Shard::*sums)()) {
    std::vector<Sums> parts;
    for (Shard* shard : active_) {
        parts.push_back((shard->*sums)());
    }
    return parts.size() > 1 ? reducer_->add(parts) : parts.front();
}

Centroids::Iteration Pieces::iteration() {
    std::optional<Launches> all = Launches();
    for (const Shard* shard : active_) {
        const std::optional<Launches> own = shard->launches();
        if (all && own) {
            all->insert(all->end(), own->begin(), own->end());
        } else {
            all.reset();
        }
    }
    return {[this](const float* centroids) {
                for (Shard* shard : active_) {
                    shard->assign(centroids);
                }
            },
            [this] { return add(&Shard::sum); },
            std::move(all)};
}

/// In the order in which they depend on each other.
void Pieces::clear() {
    centroids_.reset();
    reducer_.reset();
    shards_.clear();
}

} // namespace faiss_flash
