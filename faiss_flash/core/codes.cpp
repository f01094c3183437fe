#include <faiss_flash/codes.h>

#include <faiss_flash/core/arguments.h>
#include <faiss_flash/core/backend.h>
#include <faiss_flash/core/device_choice.h>
#include <faiss_flash/core/interrupt.h>
#include <faiss_flash/core/parallel.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

namespace faiss_flash {

namespace {

constexpr int64_t kBlock = 65536; // rows encoded together: bounds the residuals and ids in memory
constexpr int64_t kRows = 1024;   // of a loop's pieces

[[noreturn]] void reject(const std::string& text) {
    throw InvalidArgument(text);
}

void check_codebooks(const Codebooks& books) {
    if (!books.data || books.subspaces <= 0 || books.dsub <= 0) {
        reject("codebooks are empty (subspaces=" + std::to_string(books.subspaces) +
               ", dsub=" + std::to_string(books.dsub) + ")");
    }
    if (books.ksub <= 0 || books.ksub > 256) {
        reject("codebooks.ksub=" + std::to_string(books.ksub) + " must be 1 to 256");
    }
}

void check_finite_codebooks(const Codebooks& books) {
    const int64_t entries = books.subspaces * books.ksub;
    check_finite_rows(VectorView::of(books.data, entries, books.dsub), "codebooks");
}

void check_lists(const Lists& lists, int64_t n) {
    if (!lists.centroids) {
        return;
    }
    if (!lists.of_row && n > 0) {
        reject("lists.of_row is null with n=" + std::to_string(n));
    }
    const int64_t* bad = std::find_if(lists.of_row, lists.of_row + n, [&](int64_t list) {
        return list < 0 || list >= lists.nlist;
    });
    if (bad != lists.of_row + n) {
        reject("lists.of_row[" + std::to_string(bad - lists.of_row) + "]=" + std::to_string(*bad) +
               " is not a list of nlist=" + std::to_string(lists.nlist));
    }
}

/// Rows [first, first + count) as [count x d], less the centroids of their lists.
void copy_residuals(
        const Points& points, const Lists& lists, int64_t first, int64_t count, float* out) {
    const int64_t d = points.d();
    for_each_range(count, kRows, [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; i++) {
            float* row = out + i * d;
            points.copy_row(first + i, row);
            if (lists.centroids) {
                const float* centroid = lists.centroids + lists.of_row[first + i] * d;
                std::transform(row, row + d, centroid, row, std::minus<>());
            }
        }
    });
}

/// For a row of which a part, as it was encoded, had no nearest entry.
[[noreturn]] void reject_row(const Points& points, int64_t row, const float* encoded) {
    const auto finite = [](float value) { return std::isfinite(value); };
    const int64_t column = std::find_if_not(encoded, encoded + points.d(), finite) - encoded;
    std::vector<float> given(static_cast<size_t>(points.d()));
    points.copy_row(row, given.data());
    const bool was_finite = std::all_of(given.begin(), given.end(), finite);
    reject("rows[" + std::to_string(row) + "][" + std::to_string(column) + "] " +
           (was_finite ? "less its list's centroid " : "") +
           "is not finite: input contains NaN's or Inf's");
}

} // namespace

void encode(
        const VectorView& rows,
        const Lists& lists,
        const Codebooks& codebooks,
        uint8_t* codes,
        int64_t stride,
        const std::string& device,
        const std::function<void()>& poll) {
    const Polling polling(poll);
    check_host_view(rows, "rows");
    check_codebooks(codebooks);
    const int64_t parts = codebooks.subspaces;
    const int64_t d = parts * codebooks.dsub;
    if (rows.d != d) {
        reject("rows.d=" + std::to_string(rows.d) + ", the codebooks' is " + std::to_string(d));
    }
    if (stride < parts) {
        reject("stride=" + std::to_string(stride) + " is less than a code's " +
               std::to_string(parts) + " bytes");
    }
    check_finite_codebooks(codebooks); // no sooner: their size was not checked before
    if (!codes && rows.n > 0) {
        reject("codes is null with rows.n=" + std::to_string(rows.n));
    }
    check_lists(lists, rows.n);
    const Points points(rows);
    const int64_t most = std::min(rows.n, kBlock);
    std::vector<float> block(static_cast<size_t>(most * d));
    std::vector<int64_t> ids(static_cast<size_t>(most * parts));
    // Nothing is written before all of it is known to be right.
    std::vector<uint8_t> found(static_cast<size_t>(rows.n * parts));
    const Workload workload{
            parts,
            most,
            codebooks.dsub,
            codebooks.ksub,
            Metric::l2,
            DType::f32,
            Precision::exact,
            false,
            false};
    const int64_t blocks = (rows.n + kBlock - 1) / kBlock;
    const Backend& backend = fastest_backend(
            VectorView::of(block.data(), most, d), workload, static_cast<double>(blocks), device);
    for (int64_t first = 0; first < rows.n; first += kBlock) {
        const int64_t count = std::min(kBlock, rows.n - first);
        copy_residuals(points, lists, first, count, block.data());
        std::vector<Assignment> problems;
        for (int64_t m = 0; m < parts; m++) {
            VectorView part =
                    VectorView::of(block.data() + m * codebooks.dsub, count, codebooks.dsub);
            part.row_stride = d * static_cast<int64_t>(sizeof(float));
            const float* book = codebooks.data + m * codebooks.ksub * codebooks.dsub;
            problems.push_back({Points(part), book, ids.data() + m * count, nullptr});
        }
        on_backend_or_host(backend, problems.front().points.view(), [&](const Backend& chosen) {
            chosen.assign_batch(problems, codebooks.ksub, Metric::l2);
        });
        const auto end = ids.begin() + parts * count;
        const auto bad = std::find(ids.begin(), end, int64_t{-1});
        if (bad != end) {
            const int64_t row = (bad - ids.begin()) % count;
            reject_row(points, first + row, block.data() + row * d);
        }
        for_each_range(count, kRows, [&](int64_t begin, int64_t stop) {
            for (int64_t i = begin; i < stop; i++) {
                uint8_t* code = found.data() + (first + i) * parts;
                for (int64_t m = 0; m < parts; m++) {
                    code[m] = static_cast<uint8_t>(ids[static_cast<size_t>(m * count + i)]);
                }
            }
        });
    }
    for (int64_t i = 0; i < rows.n; i++) {
        std::copy_n(found.begin() + i * parts, parts, codes + i * stride);
    }
}

void residual_table(
        const float* centroids, int64_t nlist, const Codebooks& codebooks, float* table) {
    check_codebooks(codebooks);
    if (nlist > 0 && (!centroids || !table)) {
        reject("centroids or table is null with nlist=" + std::to_string(nlist));
    }
    const int64_t ksub = codebooks.ksub;
    const int64_t dsub = codebooks.dsub;
    const int64_t d = codebooks.subspaces * dsub;
    const int64_t entries = codebooks.subspaces * ksub;
    // Codebooks by columns, doubled, for the inner loop over entries.
    std::vector<float> columns(static_cast<size_t>(d * ksub));
    std::vector<float> norms(static_cast<size_t>(entries));
    for (int64_t entry = 0; entry < entries; entry++) {
        double norm = 0;
        for (int64_t t = 0; t < dsub; t++) {
            const float value = codebooks.data[entry * dsub + t];
            norm += double{value} * value;
            const int64_t column = entry / ksub * dsub + t;
            columns[static_cast<size_t>(column * ksub + entry % ksub)] = 2 * value;
        }
        norms[static_cast<size_t>(entry)] = static_cast<float>(norm);
    }
    for_each_range(nlist, 1, [&](int64_t i, int64_t /*end*/) {
        float* row = table + i * entries;
        std::copy(norms.begin(), norms.end(), row);
        for (int64_t column = 0; column < d; column++) {
            const float value = centroids[i * d + column];
            const float* book = columns.data() + column * ksub;
            float* part = row + column / dsub * ksub;
            for (int64_t j = 0; j < ksub; j++) {
                part[j] += value * book[j];
            }
        }
    });
}

} // namespace faiss_flash
