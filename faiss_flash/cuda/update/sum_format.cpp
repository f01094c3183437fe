#include <faiss_flash/cuda/update/sum_format.h>

#include <faiss_flash/cuda/runtime/copy.h>

#include <algorithm>
#include <cmath>
#include <iterator>
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
    layout = SumLayout(workload.d, columns_read);
    sums = {workload.batch, workload.k, int64_t{limbs} * layout.places, workload.weighted};
    const int64_t columns = workload.batch * (workload.d + 1);
    const int64_t squares = has_squares ? workload.batch * workload.d : 0;
    scales = arena.take<double>(2 * columns + squares);
    units = scales + columns;
    square_units = units + columns;
}

void SumFormat::load(const Format& format, cudaStream_t stream) {
    std::vector<double> all; // one copy: scales, units, square_units
    const auto append = [&](const std::vector<FixedPoint>& formats, const auto& value) {
        for (const FixedPoint& one : formats) {
            std::transform(one.scale.begin(), one.scale.end(), std::back_inserter(all), value);
        }
    };
    const auto inverse = [](double scale) { return 1 / scale; };
    append(format.columns, [](double scale) { return scale; });
    append(format.columns, inverse);
    append(format.squares, inverse);
    copy(scales, all.data(), static_cast<int64_t>(all.size()), cudaMemcpyHostToDevice, stream);
}

} // namespace faiss_flash::cuda
