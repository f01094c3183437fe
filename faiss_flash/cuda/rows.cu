// Budget: every row once in its own type, once in the other.
#include <faiss_flash/core/packed_rows.h>
#include <faiss_flash/cuda/extremes.h>
#include <faiss_flash/cuda/rows.h>
#include <faiss_flash/cuda/runtime/buffer.h>
#include <faiss_flash/cuda/runtime/check.h>
#include <faiss_flash/cuda/runtime/copy.h>
#include <faiss_flash/cuda/runtime/event.h>
#include <faiss_flash/cuda/runtime/graph.h>
#include <faiss_flash/cuda/upload.h>
#include <faiss_flash/cuda/elements.cuh>

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <algorithm>
#include <vector>

namespace faiss_flash::cuda {

namespace {

constexpr int kThreads = 256;

struct Source {
    const uint8_t* data;
    int64_t row_bytes;
    const int64_t* selection; ///< [n] or null: all rows
    int64_t n, d;
    RowOrder order{};  ///< of all rows,
    int64_t first = 0; ///< from this place on

    __device__ int64_t row(int64_t i) const {
        return selection ? selection[i] : order.row(first + i);
    }
};

/// Column j of row i; rows may lie at any byte.
template <class Element>
__device__ float value_at(const Source& source, int64_t i, int64_t j) {
    const uint8_t* from = source.data + source.row(i) * source.row_bytes + j * sizeof(Element);
    Element value;
    auto* bytes = reinterpret_cast<uint8_t*>(&value);
#pragma unroll
    for (size_t b = 0; b < sizeof(Element); b++) {
        bytes[b] = from[b];
    }
    return static_cast<float>(value);
}

template <class Element, class Out>
__global__ void gather_kernel(const Source source, Out* out, int64_t stride) {
    const int64_t at = int64_t{blockIdx.x} * kThreads + threadIdx.x;
    const int64_t i = at / stride;
    const int64_t j = at - i * stride;
    if (i < source.n) {
        out[at] = static_cast<Out>(j < source.d ? value_at<Element>(source, i, j) : 0.0f);
    }
}

/// Rows of `units` units to out, packed; a warp a row.
template <class Unit>
__global__ void pack_kernel(const Source source, int64_t units, Unit* out) {
    const int64_t i = int64_t{blockIdx.x} * blockDim.y + threadIdx.y;
    if (i >= source.n) {
        return;
    }
    const int64_t row = source.row(i);
    const auto* from = reinterpret_cast<const Unit*>(source.data + row * source.row_bytes);
    for (int64_t unit = threadIdx.x; unit < units; unit += 32) {
        out[i * units + unit] = from[unit];
    }
}

/// Rows [count x batch x d] of the problems side by side to out [batch x n x d], from row `first`
/// on.
template <class Element>
__global__ void deal_kernel(
        const Element* rows,
        int64_t count,
        int64_t batch,
        int64_t d,
        int64_t n,
        int64_t first,
        Element* out) {
    const int64_t at = int64_t{blockIdx.x} * kThreads + threadIdx.x;
    const int64_t row = at / (batch * d);
    const int64_t column = at - row * batch * d;
    const int64_t problem = column / d;
    if (row < count) {
        out[(problem * n + first + row) * d + column - problem * d] = rows[at];
    }
}

template <class Element>
__global__ void non_finite_kernel(const Source source, unsigned long long* first) {
    const int64_t at = int64_t{blockIdx.x} * kThreads + threadIdx.x;
    if (at < source.n * source.d &&
        !isfinite(value_at<Element>(source, at / source.d, at % source.d))) {
        atomicMin(first, static_cast<unsigned long long>(at));
    }
}

/// The numbers of a selection's rows, on the device.
Buffer<int64_t> selected_rows(const Points& points, int64_t first, int64_t n, cudaStream_t stream) {
    std::vector<int64_t> rows(static_cast<size_t>(n));
    for (int64_t i = 0; i < n; i++) {
        rows[static_cast<size_t>(i)] = points.source_row(first + i);
    }
    Buffer<int64_t> selection(rows.size(), stream);
    copy(selection.get(), rows.data(), n, cudaMemcpyHostToDevice, stream);
    check(cudaStreamSynchronize(stream), "copying a selection");
    return selection;
}

/// Rows on the device; selection: keeps their numbers.
Source source_of(
        const Points& points,
        int64_t first,
        int64_t n,
        Buffer<int64_t>& selection,
        cudaStream_t stream) {
    const VectorView& view = points.view();
    const auto* data = static_cast<const uint8_t*>(view.data);
    Source source{data, view.row_stride, nullptr, n, view.d};
    if (const auto ordered = points.ordered()) {
        source.order = ordered->order;
        source.first = ordered->first + first;
    } else if (!points.selected()) {
        source.first = first;
    } else {
        selection = selected_rows(points, first, n, stream);
        source.selection = selection.get();
    }
    return source;
}

template <class Out>
void gather(const Source& source, DType dtype, Out* out, int64_t stride, cudaStream_t stream) {
    with_element(dtype, [&](auto element) {
        gather_kernel<decltype(element), Out>
                <<<blocks_of(source.n * stride, kThreads), kThreads, 0, stream>>>(
                        source, out, stride);
    });
    check_launch("gathering rows");
}

template <class Out>
void load(
        const Points& points,
        int64_t first,
        int64_t n,
        Out* out,
        int64_t stride,
        cudaStream_t stream) {
    if (points.view().space == MemorySpace::device) {
        Buffer<int64_t> selection;
        const Source source = source_of(points, first, n, selection, stream);
        gather(source, points.view().dtype, out, stride, stream);
        return;
    }
    const int64_t row_bytes = packed_row_bytes(points);
    upload(points, first, n, stream, [&](const void* rows, int64_t done, int64_t count) {
        const Source source{
                static_cast<const uint8_t*>(rows), row_bytes, nullptr, count, points.d()};
        gather(source, packed_type(points), out + done * stride, stride, stream);
    });
}

} // namespace

void load_rows(
        const Points& points,
        int64_t first,
        int64_t n,
        float* out,
        int64_t stride,
        cudaStream_t stream) {
    load(points, first, n, out, stride, stream);
}

namespace {

/// True where the problems are slices, one after the other, of the rows of one host matrix.
bool are_columns(const std::vector<Problem>& problems) {
    const VectorView& first = problems.front().points.view();
    const auto batch = static_cast<int64_t>(problems.size());
    const int64_t bytes = first.d * dtype_size(first.dtype);
    if (first.space == MemorySpace::device || first.decoder || first.row_stride < batch * bytes) {
        return false;
    }
    for (int64_t b = 0; b < batch; b++) {
        const Points& points = problems[static_cast<size_t>(b)].points;
        const VectorView& view = points.view();
        if (points.selected() || view.dtype != first.dtype || view.space != first.space ||
            view.decoder || view.row_stride != first.row_stride ||
            view.data != static_cast<const uint8_t*>(first.data) + b * bytes) {
            return false;
        }
    }
    return true;
}

void load_columns(const std::vector<Problem>& problems, uint8_t* out, cudaStream_t stream) {
    const auto batch = static_cast<int64_t>(problems.size());
    const Points& front = problems.front().points;
    const int64_t n = front.n();
    const int64_t d = front.d();
    VectorView matrix = front.view();
    matrix.d = batch * d;
    upload(Points(matrix), 0, n, stream, [&](const void* rows, int64_t done, int64_t count) {
        with_element(matrix.dtype, [&](auto element) {
            using Element = decltype(element);
            deal_kernel<<<blocks_of(count * matrix.d, kThreads), kThreads, 0, stream>>>(
                    static_cast<const Element*>(rows),
                    count,
                    batch,
                    d,
                    n,
                    done,
                    reinterpret_cast<Element*>(out));
        });
        check_launch("dealing out columns");
    });
}

/// Rows as they are on the device, packed.
void pack_rows(const Points& points, uint8_t* out, cudaStream_t stream) {
    const VectorView& view = points.view();
    Buffer<int64_t> selection;
    const Source source = source_of(points, 0, points.n(), selection, stream);
    const int64_t bytes = view.d * dtype_size(view.dtype);
    const auto places = reinterpret_cast<uintptr_t>(source.data) |
                        static_cast<uintptr_t>(view.row_stride) | static_cast<uintptr_t>(bytes);
    constexpr int kRows = 8; // of a block
    const auto launch = [&](auto unit) {
        using Unit = decltype(unit);
        pack_kernel<<<blocks_of(points.n(), kRows), dim3(32, kRows), 0, stream>>>(
                source, bytes / static_cast<int64_t>(sizeof(Unit)), reinterpret_cast<Unit*>(out));
    };
    if (places % sizeof(uint4) == 0) {
        launch(uint4());
    } else if (places % sizeof(uint32_t) == 0) {
        launch(uint32_t());
    } else {
        launch(uint8_t());
    }
    check_launch("packing rows");
}

} // namespace

LoadedRows::LoadedRows(const Workload& workload, bool in_place, Arena& arena)
    : rows_{nullptr, workload.row_type(), workload.batch, workload.n, workload.d, 0} {
    rows_.row_bytes = rows_.d * dtype_size(rows_.dtype);
    copy_ = in_place ? nullptr : arena.take<uint8_t>(rows_.batch * rows_.n * rows_.row_bytes);
}

void LoadedRows::load(const std::vector<Problem>& problems, cudaStream_t stream) {
    const VectorView& front = problems.front().points.view();
    if (!copy_) {
        rows_.data = front.data;
        rows_.row_bytes = front.row_stride;
        return;
    }
    rows_.data = copy_;
    if (problems.size() > 1 && are_columns(problems)) {
        load_columns(problems, copy_, stream);
        return;
    }
    for (int64_t b = 0; b < rows_.batch; b++) {
        const Points& points = problems[static_cast<size_t>(b)].points;
        uint8_t* to = copy_ + b * rows_.n * rows_.row_bytes;
        if (front.space == MemorySpace::device) {
            pack_rows(points, to, stream);
        } else {
            upload_packed(points, 0, rows_.n, to, stream);
        }
    }
}

void wait_for_rows(const std::vector<Problem>& problems, cudaStream_t stream) {
    const void* last = &problems; // no stream
    for (const Problem& problem : problems) {
        const VectorView& view = problem.points.view();
        if (view.space != MemorySpace::device || view.stream == last) {
            continue;
        }
        last = view.stream;
        if (view.stream) {
            Event made;
            made.record(static_cast<cudaStream_t>(view.stream));
            made.hold_back(stream);
        } else {
            wait_for_device("waiting for the points");
        }
    }
}

void load_halves(
        const Points& points,
        int64_t first,
        int64_t n,
        bool bf16,
        uint16_t* out,
        int64_t stride,
        cudaStream_t stream) {
    if (bf16) {
        load(points, first, n, reinterpret_cast<__nv_bfloat16*>(out), stride, stream);
    } else {
        load(points, first, n, reinterpret_cast<__half*>(out), stride, stream);
    }
}

namespace {

/// True where one of the problem's values is a NaN or an Inf.
bool has_non_finite_values(const Points& points, cudaStream_t stream) {
    const VectorView& view = points.view();
    const DeviceRows rows{view.data, view.dtype, 1, view.n, view.d, view.row_stride};
    const auto places =
            reinterpret_cast<uintptr_t>(view.data) | static_cast<uintptr_t>(view.row_stride);
    if (places % static_cast<uintptr_t>(row_alignment(view.dtype, view.d)) != 0) {
        return true; // for all that is known
    }
    Allocated<ColumnExtremes> extremes(
            stream, [&](Arena& arena) { return ColumnExtremes(1, view.d, arena); });
    extremes->find(rows, stream);
    return !all_finite(extremes->facts(stream));
}

} // namespace

std::optional<NonFinite> find_non_finite(const std::vector<Points>& problems, cudaStream_t stream) {
    constexpr unsigned long long kNone = ~0ull;
    const Buffer<unsigned long long> first(1, stream);
    for (const Points& points : problems) {
        if (points.n() == 0 || !has_non_finite_values(points, stream)) {
            continue;
        }
        const VectorView& view = points.view();
        check(cudaMemsetAsync(first.get(), 0xFF, sizeof(kNone), stream), "clearing");
        const Source source{
                static_cast<const uint8_t*>(view.data), view.row_stride, nullptr, view.n, view.d};
        with_element(view.dtype, [&](auto element) {
            non_finite_kernel<decltype(element)>
                    <<<blocks_of(view.n * view.d, kThreads), kThreads, 0, stream>>>(
                            source, first.get());
        });
        check_launch("looking for values that are not finite");
        unsigned long long found = kNone;
        copy(&found, first.get(), 1, cudaMemcpyDeviceToHost, stream);
        check(cudaStreamSynchronize(stream), "looking for values that are not finite");
        if (found != kNone) {
            const auto at = static_cast<int64_t>(found);
            return NonFinite{at / view.d, at % view.d};
        }
    }
    return std::nullopt;
}

} // namespace faiss_flash::cuda
