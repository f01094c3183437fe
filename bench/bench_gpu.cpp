/// Kernels on the device, with the share of the limit of their shape.
/// JSON: bench_gpu --benchmark_out=gpu.json --benchmark_out_format=json
///
/// limit_ms is the larger of 2 N K d over 790 TFLOP/s (the card's best measured matrix product) and
/// the bytes that must move over 4.3 TB/s (its copy rate); of_limit is limit_ms over the time.
/// Times are of the device, by events around each call, but for those of whole calls.
#include <faiss_flash/cuda/assign/assign.h>
#include <faiss_flash/cuda/device_info.h>
#include <faiss_flash/cuda/exact/assign.h>
#include <faiss_flash/cuda/extremes.h>
#include <faiss_flash/cuda/rows.h>
#include <faiss_flash/cuda/runtime/buffer.h>
#include <faiss_flash/cuda/runtime/check.h>
#include <faiss_flash/cuda/runtime/pinned.h>
#include <faiss_flash/cuda/runtime/stream.h>
#include <faiss_flash/cuda/update/cluster_sums.h>
#include <faiss_flash/cuda/update/finish.h>
#include <faiss_flash/cuda/update/row_facts.h>
#include <faiss_flash/cuda/upload.h>

#include <benchmark/benchmark.h>
#include <gpu_data.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <optional>
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
    const cuda::TensorCentroids& table = problem.table();
    const cuda::AssignOutput output = problem.output(second);
    const cuda::AssignShape of = cuda::shape_of(rows, table, output);
    const cuda::Allocated<cuda::AssignWorkspace> workspace(nullptr, [&](cuda::Arena& arena) {
        const cuda::AssignPlan unsplit{cuda::AssignKernel::generic, 1};
        return generic ? cuda::AssignWorkspace(unsplit, of, arena)
                       : cuda::AssignWorkspace(of, arena);
    });
    bench::Events events;
    cuda::find_best(rows, table, output, *workspace, nullptr);
    for (auto _ : state) {
        events.start();
        cuda::find_best(rows, table, output, *workspace, nullptr);
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

/// Sort and fixed-point sums of points with random ids. Limit: the points once.
void update(State& state, Shape shape, DType dtype) {
    if (cuda::device_count() == 0) {
        state.SkipWithError("no CUDA device");
        return;
    }
    const int64_t values = shape.batch * shape.n * shape.d;
    const bool half = dtype == DType::f16;
    const auto halves = bench::normal_halves(half ? values : 1);
    const auto floats = bench::repeated_floats(half ? 1 : values);
    // Two assignments in turn: every point moves.
    const auto first = bench::random_ids(shape.batch * shape.n, shape.k, 3);
    const auto second = bench::random_ids(shape.batch * shape.n, shape.k, 4);
    const auto k = static_cast<size_t>(shape.batch * shape.k);
    const cuda::Buffer<int64_t> sizes(k, nullptr);
    const cuda::Buffer<double> weights(k, nullptr);
    const cuda::Buffer<DoubleDouble> gains(k, nullptr);
    const cuda::Buffer<float> means(k * static_cast<size_t>(shape.d), nullptr);
    const cuda::Buffer<float> next(k * static_cast<size_t>(shape.d), nullptr);
    const cuda::Buffer<uint64_t> assigned(1, nullptr);
    const auto batch = static_cast<size_t>(shape.batch);
    const cuda::Buffer<uint32_t> finished(batch, nullptr);
    cuda::check(cudaMemset(finished.get(), 0, batch * sizeof(uint32_t)), "cudaMemset");
    const cuda::Pinned<cuda::ClusterStats> stats(batch);
    const void* data = half ? static_cast<const void*>(halves.get()) : floats.get();
    const int64_t row_bytes = (half ? 2 : 4) * shape.d;
    const cuda::DeviceRows rows{data, dtype, shape.batch, shape.n, shape.d, row_bytes};
    const Workload workload{
            shape.batch,
            shape.n,
            shape.d,
            shape.k,
            Metric::l2,
            dtype,
            Precision::exact,
            false,
            false};
    cuda::Allocated<cuda::ColumnExtremes> extremes(nullptr, [&](cuda::Arena& arena) {
        return cuda::ColumnExtremes(shape.batch, shape.d, arena);
    });
    extremes->find(rows, nullptr);
    const Format format = Format::plan(extremes->facts(nullptr), workload);
    cuda::Allocated<cuda::SumFormat> sum_format(nullptr, [&](cuda::Arena& arena) {
        return cuda::SumFormat(format, workload, dtype, arena);
    });
    sum_format->load(format, nullptr);
    cuda::Allocated<cuda::ClusterSums> sums(nullptr, [&](cuda::Arena& arena) {
        return cuda::ClusterSums(rows, shape.n, nullptr, *sum_format, arena);
    });
    sums->start(nullptr);
    const auto run = [&](const int32_t* ids) {
        const Sums added = sums->run({0, shape.n}, ids, nullptr);
        cuda::IterationArrays arrays{};
        arrays.centroids = means.get(); // of the run before
        arrays.next = next.get();
        arrays.means = means.get();
        arrays.sizes = sizes.get();
        arrays.weights = weights.get();
        arrays.gains = gains.get();
        arrays.assigned = assigned.get();
        arrays.finished = finished.get();
        cuda::finish_iteration(added, *sum_format, arrays, {}, stats.get(), nullptr);
    };
    bench::Events events;
    run(second.get());
    bool turn = false;
    for (auto _ : state) {
        turn = !turn;
        events.start();
        run(turn ? first.get() : second.get());
        state.SetIterationTime(events.stop());
    }
    const double limit = static_cast<double>(shape.batch * shape.n * row_bytes) / 4.3e12;
    state.counters["limit_ms"] = limit * 1e3;
    state.counters["of_limit"] = benchmark::Counter(
            limit * static_cast<double>(state.iterations()), benchmark::Counter::kIsRate);
}

/// The exact assignment, the first or a later one of a session: limit as if points were f16, one
/// pass.
void assign_exact(State& state, Shape shape, bool first, int64_t copies, DType dtype) {
    if (cuda::device_count() == 0) {
        state.SkipWithError("no CUDA device");
        return;
    }
    const bool half = dtype != DType::f32;
    const auto floats = bench::repeated_floats(half ? 1 : shape.n * shape.d);
    const auto halves = bench::normal_halves(half ? shape.n * shape.d : 1, dtype == DType::bf16);
    const auto centroids = bench::near_copies(shape.k, shape.d, copies);
    VectorView view = VectorView::of(floats.get(), shape.n, shape.d);
    view.space = MemorySpace::device;
    if (half) {
        view.data = halves.get();
        view.dtype = dtype;
    }
    const auto n = static_cast<size_t>(shape.n);
    const cuda::Buffer<int32_t> ids(n, nullptr);
    const cuda::Buffer<IterationCounts> counts(1, nullptr);
    cuda::check(cudaMemset(counts.get(), 0, sizeof(IterationCounts)), "clearing");
    const bench::TakenMemory memory;
    const int64_t row_bytes = shape.d * dtype_size(view.dtype);
    const cuda::DeviceRows rows{view.data, view.dtype, 1, shape.n, shape.d, row_bytes};
    cuda::Allocated<cuda::ColumnExtremes> extremes(
            nullptr, [&](cuda::Arena& arena) { return cuda::ColumnExtremes(1, shape.d, arena); });
    cuda::Allocated<cuda::DevicePoints> points(nullptr, [&](cuda::Arena& arena) {
        return cuda::DevicePoints(shape.n, shape.d, arena);
    });
    extremes->find(rows, nullptr);
    points->prepare(rows, *extremes, cuda::values_of(Points(view)), nullptr);
    cuda::Allocated<cuda::ExactWorkspace> workspace(nullptr, [&](cuda::Arena& arena) {
        return cuda::ExactWorkspace(shape.n, shape.d, shape.k, Metric::l2, arena);
    });
    const auto run = [&](std::optional<int64_t> expected) {
        cuda::assign_exact(
                *points,
                centroids.get(),
                *workspace,
                {ids.get(), nullptr, counts.get()},
                expected,
                nullptr);
    };
    run({});
    IterationCounts told{};
    cuda::check(cudaMemcpy(&told, counts.get(), sizeof told, cudaMemcpyDefault), "counts");
    const std::optional<int64_t> expected =
            first ? std::nullopt : std::make_optional(cuda::expected_after(told.redone));
    bench::Events events;
    for (auto _ : state) {
        events.start();
        run(expected);
        state.SetIterationTime(events.stop());
    }
    const auto flops = static_cast<double>(2 * shape.n * shape.k * shape.d);
    state.counters["limit_ms"] = flops / 790e12 * 1e3;
    state.counters["of_limit"] = benchmark::Counter(
            flops / 790e12 * static_cast<double>(state.iterations()), benchmark::Counter::kIsRate);
    state.counters["redone"] = static_cast<double>(told.redone) / static_cast<double>(shape.n);
    state.counters["decided"] = static_cast<double>(told.decided) / static_cast<double>(shape.n);
    state.counters["bytes_a_point"] = memory.most() / static_cast<double>(shape.n);
}

/// Iterations of k-means over points on the device (fast for f16, exact for f32), by the wall clock
/// from call to result, less that of a call with a tenth of them: what one more iteration costs a
/// caller.
void iterate(State& state, Shape shape, int niter, DType dtype) {
    if (cuda::device_count() == 0) {
        state.SkipWithError("no CUDA device");
        return;
    }
    const bool half = dtype == DType::f16;
    const int64_t values = shape.batch * shape.n * shape.d;
    const auto halves = bench::normal_halves(half ? values : 1);
    const auto floats = bench::repeated_floats(half ? 1 : values);
    std::vector<KMeansInput> problems(static_cast<size_t>(shape.batch));
    for (int64_t b = 0; b < shape.batch; b++) {
        VectorView& view = problems[static_cast<size_t>(b)].points;
        const int64_t first = b * shape.n * shape.d;
        view.data = half ? static_cast<const void*>(halves.get() + first) : floats.get() + first;
        view.n = shape.n;
        view.d = shape.d;
        view.dtype = dtype;
        view.space = MemorySpace::device;
    }
    KMeansOptions options;
    options.precision = half ? Precision::fast : Precision::exact;
    options.early_stop_threshold.reset();
    options.max_points_per_centroid = -1;
    options.min_points_per_centroid = 1;
    IterationStats last;
    const auto seconds = [&](int iterations) {
        options.niter = iterations;
        const auto start = std::chrono::steady_clock::now();
        last = batch_kmeans(problems, shape.k, options).back().iterations.back();
        const std::chrono::duration<double> spent = std::chrono::steady_clock::now() - start;
        return spent.count();
    };
    seconds(niter);
    double few = 0;
    double many = 0;
    double search = 0;
    double updates = 0;
    double loop = 0;
    for (auto _ : state) {
        const double start = seconds(niter / 10);
        const double whole = seconds(niter);
        few += start;
        many += whole;
        search += last.time_search;
        updates += last.time_update;
        loop += last.time;
        const int more = niter - niter / 10;
        state.SetIterationTime((whole - start) / more);
    }
    const auto iterations = static_cast<double>(state.iterations());
    const auto flops = static_cast<double>(2 * shape.batch * shape.n * shape.k * shape.d);
    const auto bytes = static_cast<double>(4 * shape.batch * shape.n * shape.d);
    const double limit = std::max(flops / 790e12, bytes / 4.3e12);
    state.counters["limit_ms"] = limit * 1e3;
    state.counters["of_limit"] =
            benchmark::Counter(limit * iterations, benchmark::Counter::kIsRate);
    state.counters["call_ms"] = many / iterations * 1e3;
    // Per iteration of all problems, and the share of the loop's wall clock that both make up: 1
    // where nothing waits between them.
    const double each = static_cast<double>(shape.batch) / iterations / niter * 1e3;
    state.counters["assign_ms"] = search * each;
    state.counters["update_ms"] = updates * each;
    state.counters["redone"] = static_cast<double>(last.redone) / static_cast<double>(shape.n);
    state.counters["decided"] = static_cast<double>(last.decided) / static_cast<double>(shape.n);
    state.counters["busy"] = (search + updates) * static_cast<double>(shape.batch) / loop;
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
        cuda::Allocated<cuda::TensorCentroids> table(nullptr, [&](cuda::Arena& arena) {
            return cuda::TensorCentroids(shape.batch, shape.k, shape.d, false, Metric::l2, arena);
        });
        const cuda::AssignOutput output = problem.output(true);
        const cuda::Allocated<cuda::AssignWorkspace> workspace(nullptr, [&](cuda::Arena& arena) {
            return cuda::AssignWorkspace(cuda::shape_of(problem.rows(), *table, output), arena);
        });
        cuda::prepare_centroids(centroids.get(), *table, nullptr);
        cuda::find_best(problem.rows(), *table, output, *workspace, nullptr);
        state.SetIterationTime(events.stop());
        cuda::check(cudaMemPoolGetAttribute(pool, cudaMemPoolAttrUsedMemHigh, &highest), "memory");
    }
    constexpr double kMiB = 1 << 20;
    state.counters["extra_mib"] = static_cast<double>(highest - before) / kMiB;
    state.counters["centroids_mib"] =
            static_cast<double>(shape.batch * shape.k * shape.d) * 4 / kMiB;
}

/// Memory of the host that rows are uploaded from.
enum class From { pageable, pinned, strided };

/// Rows as they lie, of f32, to a place of their own on the device: by the wall clock, from the
/// call until they are there. Limit: 55 GB/s, the card's rate from page-locked memory.
void upload(State& state, int64_t n, int64_t d, From from) {
    if (cuda::device_count() == 0) {
        state.SkipWithError("no CUDA device");
        return;
    }
    const int64_t stride = from == From::strided ? 2 * d : d;
    const auto values = static_cast<size_t>(n * stride);
    std::vector<float> pageable(from == From::pageable ? values : 0, 1.0f);
    const cuda::Pinned<float> pinned(from == From::pageable ? 1 : values);
    VectorView view = VectorView::of(from == From::pageable ? pageable.data() : pinned.get(), n, d);
    view.row_stride = 4 * stride;
    const Points points(view);
    const cuda::Stream stream;
    const cuda::Buffer<float> to(static_cast<size_t>(n * d), stream.get());
    const auto run = [&] {
        cuda::upload_packed(points, 0, n, to.get(), stream.get());
        cuda::check(cudaStreamSynchronize(stream.get()), "uploading");
    };
    run();
    for (auto _ : state) {
        const auto start = std::chrono::steady_clock::now();
        run();
        const std::chrono::duration<double> spent = std::chrono::steady_clock::now() - start;
        state.SetIterationTime(spent.count());
    }
    const auto bytes = static_cast<double>(4 * n * d);
    const auto iterations = static_cast<double>(state.iterations());
    state.counters["limit_ms"] = bytes / 55e9 * 1e3;
    state.counters["of_limit"] =
            benchmark::Counter(bytes / 55e9 * iterations, benchmark::Counter::kIsRate);
    state.counters["gb_s"] =
            benchmark::Counter(bytes * iterations * 1e-9, benchmark::Counter::kIsRate);
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

constexpr Shape kUpdateShapes[] = {
        {1, 33 << 20, 4096, 128},
        {1, 8 << 20, 1024, 128},
        {1, 1 << 20, 8192, 128},
        {1, 1 << 20, 65536, 128},
        {32, 65536, 1024, 128},
        {1, 1 << 20, 8192, 768},
        {1, 4096, 64, 128},
        {1, 16384, 64, 256},
        {16, 16384, 256, 8},
};

constexpr Shape kIterationShapes[] = {
        {1, 8 << 20, 1024, 128},
        {1, 1 << 20, 8192, 128},
        {1, 1 << 20, 65536, 128},
        {1, 1 << 20, 1024, 128},
        {1, 128 << 10, 1024, 128},
        {32, 65536, 1024, 128},
        {8, 4096, 64, 128},
};

constexpr Shape kExactShapes[] = {
        {1, 1 << 20, 8192, 128},
        {1, 8 << 20, 1024, 128},
        {1, 256 << 10, 8192, 768},
        {1, 1 << 20, 8192, 32},
};

constexpr Shape kExactIterationShapes[] = {
        {1, 8 << 20, 1024, 128},
        {1, 1 << 20, 8192, 128},
        {1, 5000000, 20000, 128},
        {32, 65536, 256, 4}, // product quantizers of d = 128
        {16, 65536, 256, 8},
        {8, 65536, 256, 16},
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
    for (const Shape& shape : kUpdateShapes) {
        for (const DType dtype : {DType::f16, DType::f32}) {
            benchmark::RegisterBenchmark(
                    ((dtype == DType::f16 ? "update/" : "update_f32/") + name_of(shape)).c_str(),
                    [=](State& state) { update(state, shape, dtype); })
                    ->UseManualTime()
                    ->Unit(benchmark::kMillisecond)
                    ->MinTime(0.05);
        }
    }
    for (const Shape& shape : kIterationShapes) {
        const bool small = shape.batch * shape.n * shape.k < (int64_t{1} << 32);
        benchmark::RegisterBenchmark(
                ("iteration/" + name_of(shape)).c_str(),
                [=](State& state) { iterate(state, shape, small ? 100 : 20, DType::f16); })
                ->UseManualTime()
                ->Unit(benchmark::kMillisecond)
                ->Iterations(3);
    }
    for (const Shape& shape : kExactIterationShapes) {
        benchmark::RegisterBenchmark(
                ("iteration_f32/" + name_of(shape)).c_str(),
                [=](State& state) { iterate(state, shape, 20, DType::f32); })
                ->UseManualTime()
                ->Unit(benchmark::kMillisecond)
                ->Iterations(3);
    }
    const auto add_exact = [](const std::string& name, const Shape& shape, auto... how) {
        benchmark::RegisterBenchmark(
                (name + "/" + name_of(shape)).c_str(),
                [=](State& state) { assign_exact(state, shape, how...); })
                ->UseManualTime()
                ->Unit(benchmark::kMillisecond)
                ->MinTime(0.05);
    };
    for (const Shape& shape : kExactShapes) {
        add_exact("assign_exact_first", shape, true, 1, DType::f32);
        add_exact("assign_exact", shape, false, 1, DType::f32);
        add_exact("assign_exact_f16", shape, false, 1, DType::f16);
        add_exact("assign_exact_bf16", shape, false, 1, DType::bf16);
    }
    for (const int64_t copies : {4, 16, 64}) { // every row open, with so many candidates
        const std::string name = "assign_exact_copies" + std::to_string(copies);
        add_exact(name, {1, 1 << 20, 8192, 128}, false, copies, DType::f32);
    }
    benchmark::RegisterBenchmark(
            "assign_memory/B1/N8388608/K65536/d128",
            [](State& state) {
                assign_memory(state, {1, 8 << 20, 65536, 128});
            })
            ->UseManualTime()
            ->Unit(benchmark::kMillisecond)
            ->Iterations(1);
    const auto add_upload = [](const std::string& name, int64_t n, From from) {
        benchmark::RegisterBenchmark(
                ("upload/" + name + "/N" + std::to_string(n) + "/d128").c_str(),
                [=](State& state) { upload(state, n, 128, from); })
                ->UseManualTime()
                ->Unit(benchmark::kMillisecond)
                ->MinTime(0.2);
    };
    for (const int64_t n : {int64_t{8}, int64_t{1} << 20, int64_t{4} << 20}) { // 4 KB to 2 GB
        add_upload("pageable", n, From::pageable);
    }
    add_upload("pinned", 1 << 20, From::pinned);
    add_upload("pinned_strided", 1 << 20, From::strided);
    benchmark::Initialize(&argc, argv);
    benchmark::RunSpecifiedBenchmarks();
    benchmark::Shutdown();
    return 0;
}
