/// Kernels on the device, with the share of the limit of their shape.
/// JSON: bench_gpu --benchmark_out=gpu.json --benchmark_out_format=json
///
/// limit_ms is the larger of 2 N K d over 790 TFLOP/s (the card's best measured matrix product) and
/// the bytes that must move over 4.3 TB/s (its copy rate); of_limit is limit_ms over the time.
/// Times are of the device, by events around each call.
#include <faiss_flash/cuda/assign/assign.h>
#include <faiss_flash/cuda/device_info.h>
#include <faiss_flash/cuda/runtime/check.h>
#include <faiss_flash/cuda/update/update.h>

#include <benchmark/benchmark.h>
#include <gpu_data.h>

#include <algorithm>
#include <cstdint>
#include <string>
#include <vector>

namespace {

using namespace faiss_flash;
using benchmark::State;

struct Shape {
    int64_t batch, n, k, d;
};

void assign(State& state, Shape shape, bool second, bool generic) {
    if (cuda::device_count() == 0) {
        state.SkipWithError("no CUDA device");
        return;
    }
    const bench::AssignProblem problem(shape.batch, shape.n, shape.k, shape.d);
    const cuda::TensorRows& rows = problem.rows();
    const cuda::CentroidTable& table = problem.table();
    const cuda::AssignOutput output = problem.output(second);
    cuda::AssignPlan plan =
            cuda::choose_plan(cuda::shape_of(rows, table, output), cuda::device_info());
    if (generic) {
        plan = {cuda::AssignKernel::generic, 1};
    }
    bench::Events events;
    cuda::assign(rows, table, output, nullptr, plan);
    for (auto _ : state) {
        events.start();
        cuda::assign(rows, table, output, nullptr, plan);
        state.SetIterationTime(events.stop());
    }
    const auto points_total = static_cast<double>(shape.batch * shape.n);
    const double flops =
            2 * points_total * static_cast<double>(shape.k) * static_cast<double>(shape.d);
    const double bytes = points_total * (2.0 * static_cast<double>(shape.d) + 8);
    const double limit = std::max(flops / 790e12, bytes / 4.3e12);
    const auto iterations = static_cast<double>(state.iterations());
    state.counters["limit_ms"] = limit * 1e3;
    state.counters["of_limit"] =
            benchmark::Counter(limit * iterations, benchmark::Counter::kIsRate);
    state.counters["tflops"] =
            benchmark::Counter(flops * iterations * 1e-12, benchmark::Counter::kIsRate);
}

/// Sort and fixed-point sums of float32 points with random ids. Limit: the points once.
void update(State& state, Shape shape) {
    if (cuda::device_count() == 0) {
        state.SkipWithError("no CUDA device");
        return;
    }
    const auto points = bench::repeated_floats(shape.n * shape.d);
    const auto ids = bench::random_ids(shape.n, shape.k);
    const auto k = static_cast<size_t>(shape.k);
    const cuda::Buffer<int64_t> sizes(k, nullptr);
    const cuda::Buffer<double> weights(k, nullptr);
    const cuda::Buffer<float> means(k * static_cast<size_t>(shape.d), nullptr);
    const cuda::CentroidUpdate work(points.get(), nullptr, shape.n, shape.d, nullptr);
    bench::Events events;
    work.run(ids.get(), shape.k, {sizes.get(), weights.get(), means.get()}, nullptr);
    for (auto _ : state) {
        events.start();
        work.run(ids.get(), shape.k, {sizes.get(), weights.get(), means.get()}, nullptr);
        state.SetIterationTime(events.stop());
    }
    const double limit = static_cast<double>(shape.n * shape.d) * 4 / 4.3e12;
    state.counters["limit_ms"] = limit * 1e3;
    state.counters["of_limit"] = benchmark::Counter(
            limit * static_cast<double>(state.iterations()), benchmark::Counter::kIsRate);
}

/// Device memory that an assignment takes besides points, centroids and results, from the pool's
/// high-water mark.
void assign_memory(State& state, Shape shape) {
    if (cuda::device_count() == 0) {
        state.SkipWithError("no CUDA device");
        return;
    }
    const bench::AssignProblem problem(shape.batch, shape.n, 1, shape.d);
    const auto centroids = bench::normal_floats(shape.batch * shape.k * shape.d);
    cudaMemPool_t pool = cuda::memory_pool();
    uint64_t before = 0;
    uint64_t highest = 0;
    bench::Events events;
    for (auto _ : state) {
        cuda::check(cudaDeviceSynchronize(), "waiting");
        cuda::check(
                cudaMemPoolGetAttribute(pool, cudaMemPoolAttrUsedMemCurrent, &before), "memory");
        uint64_t reset = 0;
        cuda::check(cudaMemPoolSetAttribute(pool, cudaMemPoolAttrUsedMemHigh, &reset), "memory");
        events.start();
        const auto table = cuda::prepare_centroids(
                centroids.get(), shape.batch, shape.k, shape.d, false, Metric::l2, nullptr);
        cuda::assign(problem.rows(), table, problem.output(true), nullptr);
        state.SetIterationTime(events.stop());
        cuda::check(cudaMemPoolGetAttribute(pool, cudaMemPoolAttrUsedMemHigh, &highest), "memory");
    }
    constexpr double kMiB = 1 << 20;
    state.counters["extra_mib"] = static_cast<double>(highest - before) / kMiB;
    state.counters["centroids_mib"] =
            static_cast<double>(shape.batch * shape.k * shape.d) * 4 / kMiB;
}

/// The rows of the project's table of targets, and the shape of a small d.
constexpr Shape kShapes[] = {
        {1, 1 << 20, 8192, 128},
        {1, 8 << 20, 1024, 128},
        {1, 1 << 20, 65536, 128},
        {1, 1 << 20, 8192, 32},
        {1, 1 << 20, 8192, 64},
        {1, 1 << 20, 8192, 96},
        {1, 1 << 20, 8192, 256},
        {1, 1 << 20, 8192, 768},
        {1, 256 << 10, 8192, 1024},
        {32, 65536, 1024, 128},
        {16, 65536, 256, 8},
        {1, 4 << 20, 256, 16},
};

std::string name_of(const Shape& shape) {
    return "B" + std::to_string(shape.batch) + "/N" + std::to_string(shape.n) + "/K" +
           std::to_string(shape.k) + "/d" + std::to_string(shape.d);
}

void add(const std::string& name, const Shape& shape, bool second, bool generic) {
    benchmark::RegisterBenchmark(
            (name + "/" + name_of(shape)).c_str(),
            [=](State& state) { assign(state, shape, second, generic); })
            ->UseManualTime()
            ->Unit(benchmark::kMillisecond)
            ->MinTime(0.05)
            ->Repetitions(5)
            ->ReportAggregatesOnly()
            ->ComputeStatistics("min", [](const std::vector<double>& values) {
                return *std::min_element(values.begin(), values.end());
            });
}

} // namespace

int main(int argc, char** argv) {
    for (const Shape& shape : kShapes) {
        add("assign", shape, false, false);
    }
    for (const Shape& shape : kShapes) {
        add("assign_second", shape, true, false);
    }
    for (const Shape& shape : kShapes) {
        if (shape.k <= 8192) {
            add("assign_generic", shape, false, true);
        }
    }
    for (const Shape& shape :
         {Shape{1, 8 << 20, 1024, 128},
          Shape{1, 1 << 20, 8192, 128},
          Shape{1, 1 << 20, 65536, 128},
          Shape{1, 1 << 20, 8192, 768}}) {
        benchmark::RegisterBenchmark(
                ("update/" + name_of(shape)).c_str(), [=](State& state) { update(state, shape); })
                ->UseManualTime()
                ->Unit(benchmark::kMillisecond)
                ->MinTime(0.05);
    }
    benchmark::RegisterBenchmark(
            "assign_memory/B1/N8388608/K65536/d128",
            [](State& state) {
                assign_memory(state, {1, 8 << 20, 65536, 128});
            })
            ->UseManualTime()
            ->Unit(benchmark::kMillisecond)
            ->Iterations(1);
    benchmark::Initialize(&argc, argv);
    benchmark::RunSpecifiedBenchmarks();
    benchmark::Shutdown();
    return 0;
}
