// Budget: every row once in its own type, once in the other.
#include <faiss_flash/core/packed_rows.h>
#include <faiss_flash/cuda/rows.h>
#include <faiss_flash/cuda/runtime/buffer.h>
#include <faiss_flash/cuda/runtime/check.h>
#include <faiss_flash/cuda/runtime/copy.h>
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
};

/// Column j of row i; rows may lie at any byte.
template <class Element>
__device__ float value_at(const Source& source, int64_t i, int64_t j) {
    const int64_t row = source.selection ? source.selection[i] : i;
    const uint8_t* from = source.data + row * source.row_bytes + j * sizeof(Element);
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
        float* out) {
    const int64_t at = int64_t{blockIdx.x} * kThreads + threadIdx.x;
    const int64_t row = at / (batch * d);
    const int64_t column = at - row * batch * d;
    const int64_t problem = column / d;
    if (row < count) {
        const int64_t to = (problem * n + first + row) * d + column - problem * d;
        out[to] = static_cast<float>(rows[at]);
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

template <class Out>
void gather_from_device(
        const Points& points,
        int64_t first,
        int64_t n,
        Out* out,
        int64_t stride,
        cudaStream_t stream) {
    const VectorView& view = points.view();
    const auto* data = static_cast<const uint8_t*>(view.data);
    Buffer<int64_t> selection;
    Source source{data + first * view.row_stride, view.row_stride, nullptr, n, view.d};
    if (points.selected()) {
        selection = selected_rows(points, first, n, stream);
        source.data = data;
        source.selection = selection.get();
    }
    with_element(view.dtype, [&](auto element) {
        gather_kernel<decltype(element), Out>
                <<<blocks_of(n * stride, kThreads), kThreads, 0, stream>>>(source, out, stride);
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
        gather_from_device(points, first, n, out, stride, stream);
        return;
    }
    const int64_t row_bytes = packed_row_bytes(points);
    upload(points, first, n, stream, [&](const void* rows, int64_t done, int64_t count) {
        const Source source{
                static_cast<const uint8_t*>(rows), row_bytes, nullptr, count, points.d()};
        with_element(packed_type(points), [&](auto element) {
            gather_kernel<decltype(element), Out>
                    <<<blocks_of(count * stride, kThreads), kThreads, 0, stream>>>(
                            source, out + done * stride, stride);
        });
        check_launch("converting rows");
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
bool are_columns(const std::vector<Points>& problems) {
    const VectorView& first = problems.front().view();
    const auto batch = static_cast<int64_t>(problems.size());
    const int64_t bytes = first.d * dtype_size(first.dtype);
    if (first.space == MemorySpace::device || first.decoder || first.row_stride < batch * bytes) {
        return false;
    }
    for (int64_t b = 0; b < batch; b++) {
        const Points& points = problems[static_cast<size_t>(b)];
        const VectorView& view = points.view();
        if (points.selected() || view.dtype != first.dtype || view.space != first.space ||
            view.decoder || view.row_stride != first.row_stride ||
            view.data != static_cast<const uint8_t*>(first.data) + b * bytes) {
            return false;
        }
    }
    return true;
}

} // namespace

void load_batch(const std::vector<Points>& problems, float* out, cudaStream_t stream) {
    const auto batch = static_cast<int64_t>(problems.size());
    const int64_t n = problems.front().n();
    const int64_t d = problems.front().d();
    if (!are_columns(problems)) {
        for (int64_t b = 0; b < batch; b++) {
            load_rows(problems[static_cast<size_t>(b)], 0, n, out + b * n * d, d, stream);
        }
        return;
    }
    VectorView matrix = problems.front().view();
    matrix.d = batch * d;
    upload(Points(matrix), 0, n, stream, [&](const void* rows, int64_t done, int64_t count) {
        with_element(matrix.dtype, [&](auto element) {
            using Element = decltype(element);
            deal_kernel<<<blocks_of(count * matrix.d, kThreads), kThreads, 0, stream>>>(
                    static_cast<const Element*>(rows), count, batch, d, n, done, out);
        });
        check_launch("dealing out columns");
    });
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

std::optional<NonFinite> find_non_finite(const std::vector<Points>& problems, cudaStream_t stream) {
    constexpr unsigned long long kNone = ~0ull;
    std::vector<unsigned long long> found(problems.size());
    const auto count = static_cast<int64_t>(found.size());
    const Buffer<unsigned long long> first(found.size(), stream);
    check(cudaMemsetAsync(first.get(), 0xFF, found.size() * sizeof(kNone), stream), "clearing");
    for (size_t b = 0; b < problems.size(); b++) {
        const VectorView& view = problems[b].view();
        const Source source{
                static_cast<const uint8_t*>(view.data), view.row_stride, nullptr, view.n, view.d};
        with_element(view.dtype, [&](auto element) {
            non_finite_kernel<decltype(element)>
                    <<<blocks_of(view.n * view.d, kThreads), kThreads, 0, stream>>>(
                            source, first.get() + b);
        });
        check_launch("looking for values that are not finite");
    }
    copy(found.data(), first.get(), count, cudaMemcpyDeviceToHost, stream);
    check(cudaStreamSynchronize(stream), "looking for values that are not finite");
    for (size_t b = 0; b < problems.size(); b++) {
        if (found[b] != kNone) {
            const auto at = static_cast<int64_t>(found[b]);
            const int64_t d = problems[b].d();
            return NonFinite{at / d, at % d};
        }
    }
    return std::nullopt;
}

} // namespace faiss_flash::cuda
