/// The CPU's score kernels one beside the other, in one thread: what a kernel of codes.h has to be
/// faster than, and how far it is from what its instructions could do.
///
///   tune_cpu --n 16384 --k 1024 --d 128 --clusters 300
///
/// A line a kernel: million products a second (n k d over the median time of an assignment, all of
/// it: rows are centred, scored and decided), times those of the first kernel, the share of the
/// peak of its product's instruction, measured in the same run, and centroids a row that are left
/// to float64. `guessed`: as from the second iteration on, where a row's last centroid is known.
#include <faiss_flash/cpu/assign.h>

#include <CLI/CLI.hpp>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <exception>
#include <functional>
#include <random>
#include <string>
#include <vector>

namespace {

using namespace faiss_flash;
using namespace faiss_flash::cpu;

double seconds(const std::function<void()>& work) {
    const auto start = std::chrono::steady_clock::now();
    work();
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

double median(std::vector<double> values) {
    std::nth_element(values.begin(), values.begin() + values.size() / 2, values.end());
    return values[values.size() / 2];
}

/// Products a second of code that does nothing but multiply: `steps` of `each` products.
template <class Work>
double products(double each, const Work& work) {
    constexpr int kSteps = 1 << 18;
    double best = 1e9;
    for (int round = 0; round < 9; round++) {
        best = std::min(best, seconds([&] {
                            for (int i = 0; i < kSteps; i++) {
                                work();
                            }
                        }));
    }
    return each * kSteps / best;
}

// Twelve sums at a time: more than the instructions' latency needs.
#define FAISS_FLASH_TWELVE(instruction, r)                                                         \
    asm volatile(".irp n, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12\n\t" instruction " %%" r "0, %%" r \
                 "0, %%" r "\\n\n\t.endr" ::                                                       \
                         : "xmm0",                                                                 \
                           "xmm1",                                                                 \
                           "xmm2",                                                                 \
                           "xmm3",                                                                 \
                           "xmm4",                                                                 \
                           "xmm5",                                                                 \
                           "xmm6",                                                                 \
                           "xmm7",                                                                 \
                           "xmm8",                                                                 \
                           "xmm9",                                                                 \
                           "xmm10",                                                                \
                           "xmm11",                                                                \
                           "xmm12")

double peak_avx2() {
    return products(12 * 8, [] { FAISS_FLASH_TWELVE("vfmadd231ps", "ymm"); });
}

double peak_avx512() {
    return products(12 * 16, [] { FAISS_FLASH_TWELVE("vfmadd231ps", "zmm"); });
}

/// 64 products take three instructions of the multiplications' ports, and two others.
double peak_codes_avx2() {
    return products(12 * 64.0 / 3, [] { FAISS_FLASH_TWELVE("vpmaddubsw", "ymm"); });
}

double peak_codes_avx512() {
    return products(12 * 128.0 / 3, [] { FAISS_FLASH_TWELVE("vpmaddubsw", "zmm"); });
}

double peak_codes_avxvnni() {
    return products(12 * 32, [] { FAISS_FLASH_TWELVE("%{vex%} vpdpbusd", "ymm"); });
}

double peak_codes_avx512vnni() {
    return products(12 * 64, [] { FAISS_FLASH_TWELVE("vpdpbusd", "zmm"); });
}

/// Four sums at a time, as in the kernel.
double peak_codes_amx() {
    struct alignas(64) {
        uint8_t palette[16] = {1};
        uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
        uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
    } config;
    asm volatile("ldtilecfg %0" ::"m"(config));
    const double peak = products(4 * 16.0 * 16 * 64, [] {
        asm volatile(
                "tdpbssd %tmm5, %tmm4, %tmm0\n\ttdpbssd %tmm5, %tmm4, %tmm1\n\t"
                "tdpbssd %tmm5, %tmm4, %tmm2\n\ttdpbssd %tmm5, %tmm4, %tmm3");
    });
    asm volatile("tilerelease");
    return peak;
}

double peak_of(const std::string& kernel) {
    const std::pair<const char*, double (*)()> peaks[] = {
            {"avx2", peak_avx2},
            {"avx512", peak_avx512},
            {"codes_avx2", peak_codes_avx2},
            {"codes_avx512", peak_codes_avx512},
            {"codes_avxvnni", peak_codes_avxvnni},
            {"codes_avx512vnni", peak_codes_avx512vnni},
            {"codes_amx", peak_codes_amx},
    };
    for (const auto& [name, peak] : peaks) {
        if (kernel == name) {
            return peak();
        }
    }
    return 0;
}

/// Normal rows around `clusters` centres that are twice as far apart as rows are from them; around
/// none where there are 0.
std::vector<float> make_points(int64_t n, int64_t d, int64_t clusters) {
    std::mt19937 generator(1);
    std::normal_distribution<float> normal;
    std::vector<float> centres(static_cast<size_t>(clusters * d));
    std::generate(centres.begin(), centres.end(), [&] { return 2 * normal(generator); });
    std::vector<float> x(static_cast<size_t>(n * d));
    for (int64_t i = 0; i < n; i++) {
        const auto centre = static_cast<int64_t>(clusters > 0 ? generator() % clusters : 0);
        for (int64_t j = 0; j < d; j++) {
            const float around = clusters > 0 ? centres[static_cast<size_t>(centre * d + j)] : 0;
            x[static_cast<size_t>(i * d + j)] = around + normal(generator);
        }
    }
    return x;
}

struct Tuned {
    std::string name;
    CentroidTable table;
    std::vector<double> first = {}, guessed = {};
    double left_first = 0, left_guessed = 0;
};

} // namespace

int main(int argc, char** argv) try {
    CLI::App app("The CPU's score kernels, one beside the other, in one thread");
    int64_t n = 16384, k = 1024, d = 128, clusters = 0, rounds = 5;
    app.add_option("--n", n, "rows");
    app.add_option("--k", k, "centroids: rows of the first half, each moved a little");
    app.add_option("--d", d, "columns");
    app.add_option("--clusters", clusters, "that the rows are in; 0: normal data");
    app.add_option("--rounds", rounds, "the kernels take turns");
    CLI11_PARSE(app, argc, argv);

    const std::vector<float> x = make_points(n, d, clusters);
    std::vector<int32_t> ids(static_cast<size_t>(n), 0);
    std::vector<double> values(static_cast<size_t>(n));
    const Points points(VectorView::of(x.data(), n, d));

    std::vector<float> centroids(x.begin(), x.begin() + k * d);
    std::vector<Tuned> tuned;
    const auto add = [&](const ScoreKernel& scores, const CodeKernel* codes) {
        tuned.push_back(
                {codes ? std::string("codes_") + codes->name : scores.name,
                 CentroidTable(
                         centroids.data(), k, d, Metric::l2, scores, narrow_kernel(), codes)});
    };
    // Two iterations, as a k-means begins.
    for (int i = 0; i < 2; i++) {
        const CentroidTable table(centroids.data(), k, d, Metric::l2);
        BlockAssigner assigner(points, table);
        const int64_t rows = BlockAssigner::rows_per_block(n, table);
        for (int64_t at = 0; at < n; at += rows) {
            assigner.run(at, std::min(rows, n - at), nullptr, ids.data() + at, values.data() + at);
        }
        std::vector<double> sums(static_cast<size_t>(k * d));
        std::vector<int64_t> sizes(static_cast<size_t>(k));
        for (int64_t row = 0; row < n; row++) {
            const int64_t id = ids[static_cast<size_t>(row)];
            sizes[static_cast<size_t>(id)]++;
            for (int64_t j = 0; j < d; j++) {
                sums[static_cast<size_t>(id * d + j)] += x[static_cast<size_t>(row * d + j)];
            }
        }
        for (int64_t c = 0; c < k * d; c++) {
            const auto size = static_cast<double>(sizes[static_cast<size_t>(c / d)]);
            if (size > 0) {
                centroids[static_cast<size_t>(c)] =
                        static_cast<float>(sums[static_cast<size_t>(c)] / size);
            }
        }
    }
    add(score_kernel(), nullptr);
    for (const CodeKernel* codes : code_kernels()) {
        add(score_kernel(), codes);
    }
    const std::vector<int32_t> guesses = ids;
    for (int64_t round = 0; round < rounds; round++) {
        for (Tuned& one : tuned) {
            for (const bool guess : {false, true}) {
                BlockAssigner assigner(points, one.table);
                const int64_t rows = BlockAssigner::rows_per_block(n, one.table);
                const double spent = seconds([&] {
                    for (int64_t at = 0; at < n; at += rows) {
                        assigner.run(
                                at,
                                std::min(rows, n - at),
                                guess ? guesses.data() + at : nullptr,
                                ids.data() + at,
                                values.data() + at);
                    }
                });
                (guess ? one.guessed : one.first).push_back(spent);
                (guess ? one.left_guessed : one.left_first) =
                        static_cast<double>(assigner.candidates()) / static_cast<double>(n);
            }
        }
    }
    const double work = static_cast<double>(n) * static_cast<double>(k) * static_cast<double>(d);
    const double base_first = median(tuned.front().first);
    const double base_guessed = median(tuned.front().guessed);
    std::printf("n=%ld k=%ld d=%ld clusters=%ld\n", n, k, d, clusters);
    for (const Tuned& one : tuned) {
        const double first = median(one.first);
        const double guessed = median(one.guessed);
        const double peak = peak_of(one.name);
        std::printf(
                "%-18s first %8.0f M/s x%.2f left %.2f   guessed %8.0f M/s x%.2f left %.2f",
                one.name.c_str(),
                work / first * 1e-6,
                base_first / first,
                one.left_first,
                work / guessed * 1e-6,
                base_guessed / guessed,
                one.left_guessed);
        if (peak > 0) {
            std::printf("   %.0f %% of %.0f", 100 * work / guessed / peak, peak * 1e-6);
        }
        std::printf("\n");
    }
    return 0;
} catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
}
