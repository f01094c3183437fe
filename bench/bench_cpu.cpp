/// CPU kernels beside stock FAISS and the matrix product that bounds them, in one process.
/// JSON: bench_cpu --benchmark_out=cpu.json --benchmark_out_format=json
///
/// gflops counts 2 N K d an assignment. of_sgemm is the time of the product of the same shape,
/// measured in this run with the BLAS that is linked, over the time of the case: a kernel of our
/// own that beats that BLAS shows more than 1.
#include <faiss_flash/Clustering.h>
#include <faiss_flash/kmeans.h>

#include <benchmark/benchmark.h>
#include <faiss/Clustering.h>
#include <faiss/IndexFlat.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <map>
#include <random>
#include <tuple>
#include <vector>

extern "C" int sgemm_(
        const char* transa,
        const char* transb,
        const int* m,
        const int* n,
        const int* k,
        const float* alpha,
        const float* a,
        const int* lda,
        const float* b,
        const int* ldb,
        const float* beta,
        float* c,
        const int* ldc);

namespace {

using benchmark::State;

struct Shape {
    int64_t n, k, d;
    bool operator<(const Shape& other) const {
        return std::tie(n, k, d) < std::tie(other.n, other.k, other.d);
    }
};

Shape shape_of(const State& state) {
    return {state.range(0), state.range(1), state.range(2)};
}

/// Normal data, quantised to bytes where a case asks for them.
const std::vector<float>& points(const Shape& shape) {
    static std::map<Shape, std::vector<float>> cache;
    std::vector<float>& x = cache[shape];
    if (x.empty()) {
        std::mt19937 generator(1);
        std::normal_distribution<float> distribution;
        x.resize(static_cast<size_t>(std::max(shape.n, shape.k) * shape.d));
        std::generate(x.begin(), x.end(), [&] { return distribution(generator); });
    }
    return x;
}

/// The shape's product in blocks of rows, by BLAS with its own threads; best of three.
double sgemm_seconds(const Shape& shape) {
    static std::map<Shape, double> cache;
    double& best = cache[shape];
    if (best > 0) {
        return best;
    }
    constexpr int64_t kBlock = 16384;
    const auto& x = points(shape);
    std::vector<float> out(static_cast<size_t>(kBlock * shape.k));
    const int k = static_cast<int>(shape.k);
    const int d = static_cast<int>(shape.d);
    const float one = 1;
    const float zero = 0;
    best = HUGE_VAL;
    for (int repeat = 0; repeat < 3; repeat++) {
        const auto start = std::chrono::steady_clock::now();
        for (int64_t i = 0; i < shape.n; i += kBlock) {
            const int rows = static_cast<int>(std::min(kBlock, shape.n - i));
            const float* block = x.data() + i * shape.d;
            sgemm_("T", "N", &k, &rows, &d, &one, x.data(), &d, block, &d, &zero, out.data(), &k);
        }
        const std::chrono::duration<double> spent = std::chrono::steady_clock::now() - start;
        best = std::min(best, spent.count());
    }
    return best;
}

void report(State& state, int64_t passes) {
    const Shape shape = shape_of(state);
    const auto n = static_cast<double>(state.iterations() * passes);
    const double flops = 2.0 * static_cast<double>(shape.n * shape.k * shape.d);
    state.counters["gflops"] = benchmark::Counter(n * flops * 1e-9, benchmark::Counter::kIsRate);
    state.counters["of_sgemm"] =
            benchmark::Counter(n * sgemm_seconds(shape), benchmark::Counter::kIsRate);
}

faiss_flash::VectorView view(const void* data, const Shape& shape, faiss_flash::DType dtype) {
    faiss_flash::VectorView rows;
    rows.data = data;
    rows.n = shape.n;
    rows.d = shape.d;
    rows.dtype = dtype;
    return rows;
}

void run_assign(State& state, const faiss_flash::VectorView& rows) {
    const Shape shape = shape_of(state);
    const auto centroids = faiss_flash::VectorView::of(points(shape).data(), shape.k, shape.d);
    sgemm_seconds(shape); // outside the timed loop
    std::vector<int64_t> ids(static_cast<size_t>(shape.n));
    for (auto _ : state) {
        faiss_flash::assign(rows, centroids, faiss_flash::Metric::l2, ids.data(), nullptr);
        benchmark::ClobberMemory();
    }
    report(state, 1);
}

void assign_f32(State& state) {
    const Shape shape = shape_of(state);
    run_assign(state, view(points(shape).data(), shape, faiss_flash::DType::f32));
}

void assign_u8(State& state) {
    const Shape shape = shape_of(state);
    const auto& x = points(shape);
    std::vector<uint8_t> bytes(x.size());
    std::transform(x.begin(), x.end(), bytes.begin(), [](float value) {
        return static_cast<uint8_t>(std::clamp(128.0f + 40.0f * value, 0.0f, 255.0f));
    });
    run_assign(state, view(bytes.data(), shape, faiss_flash::DType::u8));
}

void assign_faiss(State& state) {
    const Shape shape = shape_of(state);
    const auto& x = points(shape);
    faiss::IndexFlatL2 index(shape.d);
    index.add(shape.k, x.data());
    sgemm_seconds(shape);
    std::vector<int64_t> ids(static_cast<size_t>(shape.n));
    std::vector<float> distances(ids.size());
    for (auto _ : state) {
        index.search(shape.n, x.data(), 1, distances.data(), ids.data());
    }
    report(state, 1);
}

template <class Clustering>
void iteration(State& state) {
    constexpr int kIterations = 3;
    const Shape shape = shape_of(state);
    const auto& x = points(shape);
    sgemm_seconds(shape);
    for (auto _ : state) {
        Clustering clustering(static_cast<int>(shape.d), static_cast<int>(shape.k));
        clustering.niter = kIterations;
        clustering.max_points_per_centroid = static_cast<int>(shape.n);
        clustering.min_points_per_centroid = 1;
        faiss::IndexFlatL2 index(shape.d);
        clustering.train(shape.n, x.data(), index);
    }
    report(state, kIterations);
}

void shapes(benchmark::internal::Benchmark* cases) {
    const std::array<Shape, 8> all{{
            {262144, 1024, 128},
            {262144, 4096, 128},
            {65536, 16384, 128},
            {262144, 256, 128},
            {262144, 1024, 8},
            {262144, 1024, 32},
            {262144, 1024, 96},
            {65536, 1024, 768},
    }};
    for (const Shape& shape : all) {
        cases->Args({shape.n, shape.k, shape.d});
    }
    cases->ArgNames({"N", "K", "d"})->UseRealTime()->Unit(benchmark::kMillisecond);
}

/// Calls of few rows, for which the engine packs all centroids first.
void few_rows(benchmark::internal::Benchmark* cases) {
    for (const int64_t d : {8, 32, 128, 256, 768}) {
        for (const int64_t n : {32, 128, 512, 2048}) {
            cases->Args({n, 4096, d});
        }
    }
    cases->ArgNames({"N", "K", "d"})->UseRealTime()->Unit(benchmark::kMillisecond);
}

BENCHMARK(assign_f32)->Apply(shapes);
BENCHMARK(assign_u8)->Apply(shapes);
BENCHMARK(assign_faiss)->Apply(shapes);
BENCHMARK(iteration<faiss_flash::Clustering>)->Apply(shapes);
BENCHMARK(iteration<faiss::Clustering>)->Apply(shapes);
BENCHMARK(assign_f32)->Name("few_rows_f32")->Apply(few_rows);
BENCHMARK(assign_faiss)->Name("few_rows_faiss")->Apply(few_rows);

} // namespace
