#include <faiss_flash/cuda/assign/assign.h>
#include <faiss_flash/cuda/rows.h>
#include <faiss_flash/cuda/session_points.h>

namespace faiss_flash::cuda {

namespace {

class FastPoints final : public SessionPoints {
   public:
    FastPoints(const std::vector<Problem>& problems, cudaStream_t stream)
        : batch_(static_cast<int64_t>(problems.size())),
          n_(problems.front().points.n()),
          d_(problems.front().points.d()),
          bf16_(problems.front().points.view().dtype == DType::bf16),
          row_elements_(padded_columns(d_)),
          best_(static_cast<size_t>(batch_ * n_), stream) {
        data_ = in_place(problems);
        if (!data_) {
            copy_ = Buffer<uint16_t>(static_cast<size_t>(batch_ * n_ * row_elements_), stream);
            data_ = copy_.get();
            for (int64_t b = 0; b < batch_; b++) {
                uint16_t* to = copy_.get() + b * n_ * row_elements_;
                const Points& points = problems[static_cast<size_t>(b)].points;
                load_halves(points, 0, n_, bf16_, to, row_elements_, stream);
            }
        }
    }

    UpdateRows rows() const override {
        return {data_, bf16_ ? DType::bf16 : DType::f16, batch_, n_, d_, 2 * row_elements_};
    }

    void assign(
            const float* centroids,
            int64_t k,
            Metric metric,
            const AssignmentArrays& output,
            cudaStream_t stream) override {
        if (table_.k != k) {
            table_ = CentroidTable(batch_, k, d_, bf16_, metric, stream);
        }
        prepare_centroids(centroids, table_, stream);
        const TensorRows rows = packed_rows(data_, bf16_, batch_, n_, d_, row_elements_);
        cuda::assign(rows, table_, {best_.get(), nullptr, output.ids}, stream);
    }

    bool replays() const override { return true; }

   private:
    /// Where the rows of all problems are as one array, if they are.
    const void* in_place(const std::vector<Problem>& problems) const {
        const auto* first = static_cast<const uint8_t*>(problems.front().points.view().data);
        for (int64_t b = 0; b < batch_; b++) {
            const Points& points = problems[static_cast<size_t>(b)].points;
            const VectorView& view = points.view();
            const bool half = view.dtype == DType::f16 || view.dtype == DType::bf16;
            if (!half || view.space != MemorySpace::device || points.selected() ||
                view.row_stride != 2 * row_elements_ ||
                view.data != first + b * n_ * view.row_stride) {
                return nullptr;
            }
        }
        return reinterpret_cast<uintptr_t>(first) % 16 == 0 ? first : nullptr;
    }

    const int64_t batch_, n_, d_;
    const bool bf16_;
    const int64_t row_elements_;
    Buffer<float> best_;
    Buffer<uint16_t> copy_;
    const void* data_ = nullptr;
    CentroidTable table_;
};

} // namespace

std::unique_ptr<SessionPoints> fast_points(
        const std::vector<Problem>& problems, cudaStream_t stream) {
    return std::make_unique<FastPoints>(problems, stream);
}

} // namespace faiss_flash::cuda
