#include <faiss_flash/cuda/update/sum_format.h>

#include <faiss_flash/cuda/runtime/copy.h>

#include <algorithm>
#include <cmath>
#include <vector>

namespace faiss_flash::cuda {

namespace {

/// True where pieces of every column's values are exact as float32: none is subnormal or infinite.
/// The last column is the weights'.
bool fits_float(const FixedPoint& format, const ColumnRange& range) {
    for (size_t column = 0; column + 1 < range.largest.size(); column++) {
        const int power = std::ilogb(format.scale[column]) + kUpperBits - format.limb_bits;
        const int lowest = range.largest[column] > 0 ? std::ilogb(range.smallest[column]) - 23 : 0;
        if (power > 126 || power < -126 || lowest + power < -126) {
            return false;
        }
    }
    return true;
}

} // namespace

SumFormat::SumFormat(const Format& format, const Workload& work, DType rows, Arena& arena)
    : workload(work),
      limbs(format.limbs),
      has_squares(!format.squares.empty()),
      square_limbs(format.square_limbs),
      limb_bits(format.columns.front().limb_bits),
      limb_step(format.columns.front().limb_step),
      in_float(!work.weighted) {
    for (size_t b = 0; b < format.columns.size(); b++) {
        in_float = in_float && fits_float(format.columns[b], format.facts[b]);
    }
    const bool vectors = reads_vectors(rows, workload.d);
    const int64_t columns_read = vectors ? vector_columns(dtype_size(rows)) : kSingles;
    layout = SumLayout(workload.d, in_float ? columns_read : 1);
    sums = {workload.batch, workload.k, int64_t{limbs} * layout.places, workload.weighted};
    const int64_t columns = workload.batch * (workload.d + 1);
    units = arena.take<double>(columns);
    upper_scale = arena.take<float>(columns);
    square_units = has_squares ? arena.take<double>(workload.batch * workload.d) : nullptr;
}

void SumFormat::load(const Format& format, cudaStream_t stream) {
    std::vector<double> one_over_scale;
    std::vector<float> upper;
    for (const FixedPoint& columns : format.columns) {
        for (const double scale : columns.scale) {
            one_over_scale.push_back(1 / scale);
            upper.push_back(static_cast<float>(std::ldexp(scale, kUpperBits - limb_bits)));
        }
    }
    const auto copy_all = [&](auto* to, const auto& from) {
        copy(to, from.data(), static_cast<int64_t>(from.size()), cudaMemcpyHostToDevice, stream);
    };
    copy_all(units, one_over_scale);
    copy_all(upper_scale, upper);
    one_over_scale.clear();
    for (const FixedPoint& squares : format.squares) {
        for (const double scale : squares.scale) {
            one_over_scale.push_back(1 / scale);
        }
    }
    copy_all(square_units, one_over_scale);
}

} // namespace faiss_flash::cuda
