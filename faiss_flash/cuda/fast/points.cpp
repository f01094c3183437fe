#include <faiss_flash/cuda/assign/assign.h>
#include <faiss_flash/cuda/rows.h>
#include <faiss_flash/cuda/session_points.h>

namespace faiss_flash::cuda {

namespace {

class FastPoints final : public SessionPoints {
   public:
    FastPoints(
            int64_t batch,
            int64_t n,
            int64_t k,
            int64_t d,
            bool bf16,
            Metric metric,
            bool in_place,
            Arena& arena)
        : batch_(batch),
          n_(n),
          d_(d),
          bf16_(bf16),
          row_elements_(padded_columns(d)),
          in_place_(in_place),
          copy_(in_place ? nullptr : arena.take<uint16_t>(batch * n * row_elements_)),
          best_(arena.take<float>(batch * n)),
          table_(batch, k, d, bf16, metric, arena),
          workspace_({batch, n, k, d, false, 16, table_.folds}, arena) {}

    void load(const std::vector<Problem>& problems, cudaStream_t stream) override {
        if (in_place_) {
            data_ = problems.front().points.view().data;
            return;
        }
        data_ = copy_;
        for (int64_t b = 0; b < batch_; b++) {
            uint16_t* to = copy_ + b * n_ * row_elements_;
            const Points& points = problems[static_cast<size_t>(b)].points;
            load_halves(points, 0, n_, bf16_, to, row_elements_, stream);
        }
    }

    UpdateRows rows() const override {
        return {data_, bf16_ ? DType::bf16 : DType::f16, batch_, n_, d_, 2 * row_elements_};
    }

    void assign(
            const float* centroids, const AssignmentArrays& output, cudaStream_t stream) override {
        prepare_centroids(centroids, table_, stream);
        const TensorRows rows = packed_rows(data_, bf16_, batch_, n_, d_, row_elements_);
        cuda::assign(rows, table_, {best_, nullptr, output.ids}, workspace_, stream);
    }

    bool replays() const override { return true; }

   private:
    const int64_t batch_, n_, d_;
    const bool bf16_;
    const int64_t row_elements_;
    const bool in_place_;
    uint16_t* copy_; ///< [batch x n x row_elements], or null
    float* best_;    ///< [batch x n]
    CentroidTable table_;
    AssignWorkspace workspace_;
    const void* data_ = nullptr; ///< the copy, or the caller's rows
};

} // namespace

bool stay_in_place(const std::vector<Problem>& problems) {
    const Points& front = problems.front().points;
    const int64_t row_bytes = 2 * padded_columns(front.d());
    const auto* first = static_cast<const uint8_t*>(front.view().data);
    int64_t before = 0; // bytes of the problems before
    for (const Problem& problem : problems) {
        const VectorView& view = problem.points.view();
        const bool half = view.dtype == DType::f16 || view.dtype == DType::bf16;
        if (!half || view.space != MemorySpace::device || problem.points.selected() ||
            view.row_stride != row_bytes || view.data != first + before) {
            return false;
        }
        before += front.n() * row_bytes;
    }
    return reinterpret_cast<uintptr_t>(first) % 16 == 0;
}

std::unique_ptr<SessionPoints> fast_points(
        const Workload& workload, Metric metric, bool in_place, Arena& arena) {
    const auto [batch, n, d, k, dtype, precision, plain, space] = workload;
    const bool bf16 = dtype == DType::bf16;
    return std::make_unique<FastPoints>(batch, n, k, d, bf16, metric, in_place, arena);
}

} // namespace faiss_flash::cuda
