#include <faiss_flash/cuda/assign/assign.h>
#include <faiss_flash/cuda/assigner.h>
#include <faiss_flash/cuda/rows.h>

namespace faiss_flash::cuda {

namespace {

class FastAssigner final : public Assigner {
   public:
    FastAssigner(const Workload& workload, bool in_place, Arena& arena)
        : batch_(workload.batch),
          n_(workload.n),
          d_(workload.d),
          type_(rows_type(Method::fast, workload)),
          row_elements_(padded_columns(d_)),
          in_place_(in_place),
          copy_(in_place ? nullptr : arena.take<uint16_t>(batch_ * n_ * row_elements_)),
          best_(arena.take<float>(batch_ * workload.assigned())),
          table_(batch_, workload.k, d_, is_bf16(), workload.metric, arena),
          workspace_(
                  {batch_, workload.assigned(), workload.k, d_, false, 16, table_.folds}, arena) {}

    void load(const std::vector<Problem>& problems, cudaStream_t stream) override {
        if (in_place_) {
            data_ = problems.front().points.view().data;
            return;
        }
        data_ = copy_;
        for (int64_t b = 0; b < batch_; b++) {
            uint16_t* to = copy_ + b * n_ * row_elements_;
            const Points& points = problems[static_cast<size_t>(b)].points;
            load_halves(points, 0, n_, is_bf16(), to, row_elements_, stream);
        }
    }

    DeviceRows rows() const override { return {data_, type_, batch_, n_, d_, 2 * row_elements_}; }

    void assign(
            const RowRange& rows,
            const float* centroids,
            const AssignmentArrays& output,
            cudaStream_t stream) override {
        prepare_centroids(centroids, table_, stream);
        const DeviceRows part = this->rows().part(rows);
        const TensorRows tensor =
                packed_rows(part.data, is_bf16(), batch_, part.n, d_, row_elements_);
        cuda::find_best(tensor, table_, {best_, nullptr, output.ids}, workspace_, stream);
    }

   private:
    bool is_bf16() const { return type_ == DType::bf16; }

    const int64_t batch_, n_, d_;
    const DType type_;
    const int64_t row_elements_;
    const bool in_place_;
    uint16_t* copy_; ///< [batch x n x row_elements], or null
    float* best_;    ///< [batch x n] of those that are assigned at a time
    TensorCentroids table_;
    AssignWorkspace workspace_;
    const void* data_ = nullptr; ///< the copy, or the caller's rows
};

} // namespace

std::unique_ptr<Assigner> fast_assigner(const Workload& workload, bool in_place, Arena& arena) {
    return std::make_unique<FastAssigner>(workload, in_place, arena);
}

} // namespace faiss_flash::cuda
