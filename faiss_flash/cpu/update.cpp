#include <faiss_flash/cpu/update.h>

#include <faiss_flash/cpu/parallel.h>
#include <faiss_flash/cpu/row_ops.h>

#include <algorithm>

namespace faiss_flash::cpu {

namespace {

constexpr int64_t kPiecePoints = 4096;
constexpr int64_t kPrefetchRows = 8; // rows are gathered at random: hide the memory's latency
constexpr float kOne = 1.0f;

} // namespace

CentroidUpdate::CentroidUpdate(const Points& points, const float* weights)
    : points_(points), weights_(weights), order_(static_cast<size_t>(points.n())) {
    plan_sums();
}

void CentroidUpdate::plan_sums() {
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
#pragma omp critical(faiss_flash_plan_sums)
            range.merge(mine);
        };
    });
    format_ = FixedPoint::plan(range, points_.n());
}

void CentroidUpdate::run(const std::vector<int32_t>& ids, int64_t k, StepResult& result) {
    result.weights.assign(static_cast<size_t>(k), 0.0);
    result.means.assign(static_cast<size_t>(k * points_.d()), 0.0f);
    sort(ids, k, result.sizes);
    std::vector<int64_t> split; // clusters of more than one piece
    const std::vector<Piece> pieces = cut(result.sizes, split);
    std::vector<int64_t> merged(split.size() * row_size(), 0);
    for_each_block(static_cast<int64_t>(pieces.size()), [&] {
        return [&,
                scratch = std::vector<float>(static_cast<size_t>(points_.d())),
                sums = std::vector<int64_t>(row_size())](int64_t number) mutable {
            const Piece& piece = pieces[static_cast<size_t>(number)];
            std::fill(sums.begin(), sums.end(), 0);
            sum(piece, scratch.data(), sums.data());
            if (piece.merged < 0) {
                finish(piece.cluster, sums.data(), result);
                return;
            }
            int64_t* to = merged.data() + static_cast<size_t>(piece.merged) * row_size();
#pragma omp critical(faiss_flash_merge_sums)
            std::transform(sums.begin(), sums.end(), to, to, std::plus<>());
        };
    });
    for (size_t i = 0; i < split.size(); i++) {
        finish(split[i], merged.data() + i * row_size(), result);
    }
}

void CentroidUpdate::sort(const std::vector<int32_t>& ids, int64_t k, std::vector<int64_t>& sizes) {
    sizes.assign(static_cast<size_t>(k), 0);
    for (const int32_t id : ids) {
        sizes[static_cast<size_t>(id)]++;
    }
    std::vector<int64_t> next(static_cast<size_t>(k));
    int64_t offset = 0;
    for (size_t c = 0; c < next.size(); c++) {
        next[c] = offset;
        offset += sizes[c];
    }
    for (size_t i = 0; i < ids.size(); i++) {
        order_[static_cast<size_t>(next[static_cast<size_t>(ids[i])]++)] = static_cast<int64_t>(i);
    }
}

std::vector<CentroidUpdate::Piece> CentroidUpdate::cut(
        const std::vector<int64_t>& sizes, std::vector<int64_t>& split) const {
    std::vector<Piece> pieces;
    int64_t begin = 0;
    for (size_t c = 0; c < sizes.size(); c++) {
        const auto cluster = static_cast<int64_t>(c);
        const int64_t end = begin + sizes[c];
        int64_t merged = -1;
        if (sizes[c] > kPiecePoints) {
            merged = static_cast<int64_t>(split.size());
            split.push_back(cluster);
        }
        for (; begin < end; begin = std::min(end, begin + kPiecePoints)) {
            pieces.push_back({cluster, begin, std::min(end, begin + kPiecePoints), merged});
        }
    }
    return pieces;
}

void CentroidUpdate::sum(const Piece& piece, float* scratch, int64_t* sums) const {
    const RowOps& ops = row_ops();
    const int64_t d = points_.d();
    for (int64_t at = piece.begin; at < piece.end; at++) {
        if (at + kPrefetchRows < piece.end) {
            points_.prefetch(order_[static_cast<size_t>(at + kPrefetchRows)]);
        }
        const int64_t i = order_[static_cast<size_t>(at)];
        const float* x = points_.read(i, 1, scratch).data;
        const double weight = weights_ ? weights_[i] : 1.0;
        ops.accumulate(x, weight, format_, 0, d, sums, columns());
        if (weights_) {
            ops.accumulate(&kOne, weight, format_, d, 1, sums + d, columns());
        }
    }
}

void CentroidUpdate::finish(int64_t cluster, const int64_t* sums, StepResult& result) const {
    const int64_t d = points_.d();
    const double weight = weights_
                                  ? format_.value(d, sums + d, columns())
                                  : static_cast<double>(result.sizes[static_cast<size_t>(cluster)]);
    result.weights[static_cast<size_t>(cluster)] = weight;
    if (weight == 0) {
        return;
    }
    float* mean = result.means.data() + cluster * d;
    const double inverse = 1 / weight; // GPUs take long to divide
    for (int64_t j = 0; j < d; j++) {
        mean[j] = static_cast<float>(format_.value(j, sums + j, columns()) * inverse);
    }
}

} // namespace faiss_flash::cpu
