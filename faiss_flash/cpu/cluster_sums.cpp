#include <faiss_flash/cpu/cluster_sums.h>

#include <faiss_flash/core/parallel.h>
#include <faiss_flash/cpu/row_ops.h>

#include <algorithm>
#include <functional>

namespace faiss_flash::cpu {

namespace {

constexpr int64_t kPiecePoints = 4096;
constexpr int64_t kPrefetchRows = 8; // rows are gathered at random: hide the memory's latency
constexpr float kOne = 1.0f;

} // namespace

ClusterSums::ClusterSums(const Points& points, const float* weights)
    : points_(points), weights_(weights) {}

ColumnRange ClusterSums::range() const {
    const int64_t d = points_.d();
    const int64_t blocks = (points_.n() + kPiecePoints - 1) / kPiecePoints;
    ColumnRange range(columns());
    for_each_block(blocks, [&] {
        return [&, scratch = std::vector<float>(static_cast<size_t>(d))](int64_t block) mutable {
            ColumnRange mine(columns());
            const int64_t end = std::min(points_.n(), (block + 1) * kPiecePoints);
            for (int64_t i = block * kPiecePoints; i < end; i++) {
                const float* x = points_.read(i, 1, scratch.data()).data;
                const double weight = weights_ ? weights_[i] : 1.0;
                row_ops().widen_range(x, weight, d, mine.largest.data(), mine.smallest.data());
                row_ops().widen_range(
                        &kOne, weight, 1, mine.largest.data() + d, mine.smallest.data() + d);
            }
#pragma omp critical(faiss_flash_range)
            range.merge(mine);
        };
    });
    return range;
}

void ClusterSums::add_squares(const FixedPoint& format, int64_t* sums) const {
    const int64_t d = points_.d();
    for_each_block((points_.n() + kPiecePoints - 1) / kPiecePoints, [&] {
        return [&,
                scratch = std::vector<float>(static_cast<size_t>(d)),
                mine = std::vector<int64_t>(static_cast<size_t>(format.limbs * d))](
                       int64_t block) mutable {
            std::fill(mine.begin(), mine.end(), 0);
            const int64_t end = std::min(points_.n(), (block + 1) * kPiecePoints);
            for (int64_t i = block * kPiecePoints; i < end; i++) {
                const float* x = points_.read(i, 1, scratch.data()).data;
                row_ops().accumulate_squares(x, format, d, mine.data());
            }
#pragma omp critical(faiss_flash_add_squares)
            std::transform(mine.begin(), mine.end(), sums, sums, std::plus<>());
        };
    });
}

void ClusterSums::start(
        const FixedPoint& format, int64_t k, int64_t row, int64_t* sums, int64_t* sizes) {
    format_ = format;
    k_ = k;
    row_ = row;
    sums_ = sums;
    sizes_ = sizes;
    previous_.clear();
}

void ClusterSums::run(const std::vector<int32_t>& ids, int64_t first, int64_t count) {
    const bool whole = count == points_.n();
    first_ = first;
    end_ = first + count;
    int64_t moved = points_.n();
    if (whole && previous_.size() == ids.size()) {
        moved = 0;
        for (size_t i = 0; i < ids.size(); i++) {
            moved += ids[i] != previous_[i];
        }
    }
    const bool moved_only = 2 * moved < points_.n();
    if (!moved_only) {
        std::fill_n(sums_, k_ * row_, 0);
        std::fill_n(sizes_, k_, 0);
    }
    add(sort(ids, moved_only));
    if (whole) {
        previous_ = ids;
    } else {
        previous_.clear();
    }
}

template <class Entry>
void ClusterSums::for_each_entry(
        const std::vector<int32_t>& ids, bool moved_only, const Entry& entry) const {
    for (int64_t point = first_; point < end_; point++) {
        const auto i = static_cast<size_t>(point);
        if (!moved_only) {
            entry(static_cast<size_t>(ids[i]), point);
        } else if (ids[i] != previous_[i]) {
            entry(static_cast<size_t>(previous_[i]), ~point);
            entry(static_cast<size_t>(ids[i]), point);
        }
    }
}

std::vector<ClusterSums::Piece> ClusterSums::sort(
        const std::vector<int32_t>& ids, bool moved_only) {
    std::vector<int64_t> counts(static_cast<size_t>(k_));
    for_each_entry(ids, moved_only, [&](size_t cluster, int64_t point) {
        counts[cluster]++;
        sizes_[cluster] += point < 0 ? -1 : 1;
    });
    std::vector<int64_t> next(counts.size());
    std::vector<Piece> pieces;
    int64_t begin = 0;
    for (size_t c = 0; c < counts.size(); c++) {
        next[c] = begin;
        const int64_t end = begin + counts[c];
        const bool whole = counts[c] <= kPiecePoints;
        for (; begin < end; begin = std::min(end, begin + kPiecePoints)) {
            pieces.push_back(
                    {static_cast<int64_t>(c), begin, std::min(end, begin + kPiecePoints), whole});
        }
    }
    order_.resize(static_cast<size_t>(begin));
    for_each_entry(ids, moved_only, [&](size_t cluster, int64_t point) {
        order_[static_cast<size_t>(next[cluster]++)] = point;
    });
    return pieces;
}

void ClusterSums::sum(const Piece& piece, float* scratch, int64_t* sums) const {
    const RowOps& ops = row_ops();
    const int64_t d = points_.d();
    for (int64_t at = piece.begin; at < piece.end; at++) {
        if (at + kPrefetchRows < piece.end) {
            const int64_t ahead = order_[static_cast<size_t>(at + kPrefetchRows)];
            points_.prefetch(ahead < 0 ? ~ahead : ahead);
        }
        const int64_t entry = order_[static_cast<size_t>(at)];
        const int64_t i = entry < 0 ? ~entry : entry;
        const float* x = points_.read(i, 1, scratch).data;
        const double sign = entry < 0 ? -1 : 1;
        const double weight = weights_ ? sign * weights_[i] : sign;
        ops.accumulate(x, weight, format_, 0, d, sums, columns());
        if (weights_) {
            ops.accumulate(&kOne, weight, format_, d, 1, sums + d, columns());
        }
    }
}

/// A block is so many pieces as are worth a thread.
void ClusterSums::add(const std::vector<Piece>& pieces) {
    constexpr int64_t kValues = 16384; // to add: about 10 us
    const auto count = static_cast<int64_t>(pieces.size());
    const auto values = static_cast<int64_t>(order_.size()) * points_.d();
    const int64_t blocks = std::min(count, values / kValues + 1);
    for_each_block(blocks, [&] {
        return [&,
                scratch = std::vector<float>(static_cast<size_t>(points_.d())),
                sums = std::vector<int64_t>(static_cast<size_t>(row_))](int64_t block) mutable {
            for (int64_t i = block * count / blocks; i < (block + 1) * count / blocks; i++) {
                const Piece& piece = pieces[static_cast<size_t>(i)];
                int64_t* to = sums_ + piece.cluster * row_;
                if (piece.whole) {
                    sum(piece, scratch.data(), to);
                    continue;
                }
                std::fill(sums.begin(), sums.end(), 0);
                sum(piece, scratch.data(), sums.data());
#pragma omp critical(faiss_flash_merge_sums)
                std::transform(sums.begin(), sums.end(), to, to, std::plus<>());
            }
        };
    });
}

} // namespace faiss_flash::cpu
