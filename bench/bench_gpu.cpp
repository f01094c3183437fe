/// Kernels on the device, with the share of the limit of their shape.
/// JSON: bench_gpu --benchmark_out=gpu.json --benchmark_out_format=json
///
/// limit_ms is the larger of 2 N K d over 790 TFLOP/s (the card's best measured matrix product) and
/// the bytes that must move over 4.3 TB/s (its copy rate); of_limit is limit_ms over the time.
/// Times are of the device, by events around each call.
#include <faiss_flash/cuda/assign/assign.h>
#include <faiss_flash/cuda/device_info.h>
#include <faiss_flash/cuda/runtime/check.h>

#include <benchmark/benchmark.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <random>
#include <string>
#include <vector>

namespace {

using namespace faiss_flash;
using benchmark::State;

struct Shape {
    int64_t batch, n, k, d;
};

/// Normal values as f16, made on the host once and repeated: the device must not see zeros.
cuda::Buffer<uint16_t> normal_halves(int64_t count) {
    constexpr int64_t kPeriod = (int64_t{1} << 22) - 3; // odd: rows do not repeat within a tile
    std::vector<uint16_t> values(static_cast<size_t>(std::min(count, kPeriod)));
    std::mt19937 generator(1);
    std::normal_distribution<float> distribution;
    for (uint16_t& value : values) {
        const float x = distribution(generator);
        // Round to 11 significant bits by hand; no value here is subnormal or out of range.
        uint32_t bits;
        std::memcpy(&bits, &x, sizeof bits);
        const uint32_t magnitude = std::max((bits & 0x7FFFFFFF) + 0x1000, 0x38800000u);
        value = static_cast<uint16_t>((bits >> 16 & 0x8000) | ((magnitude - 0x38000000) >> 13));
    }
    cuda::Buffer<uint16_t> device(static_cast<size_t>(count), nullptr);
    for (int64_t at = 0; at < count; at += kPeriod) {
        const auto bytes = static_cast<size_t>(std::min(kPeriod, count - at)) * 2;
        cuda::check(
                cudaMemcpy(device.get() + at, values.data(), bytes, cudaMemcpyHostToDevice),
                "copying points");
    }
    return device;
}

cuda::Buffer<float> normal_floats(int64_t count) {
    std::vector<float> values(static_cast<size_t>(count));
    std::mt19937 generator(2);
    std::normal_distribution<float> distribution;
    std::generate(values.begin(), values.end(), [&] { return distribution(generator); });
    cuda::Buffer<float> device(values.size(), nullptr);
    cuda::check(
            cudaMemcpy(device.get(), values.data(), values.size() * 4, cudaMemcpyHostToDevice),
            "copying centroids");
    return device;
}

class Events {
   public:
    Events() {
        cuda::check(cudaEventCreate(&start_), "creating an event");
        cuda::check(cudaEventCreate(&stop_), "creating an event");
    }
    ~Events() {
        cudaEventDestroy(start_);
        cudaEventDestroy(stop_);
    }
    void start() { cuda::check(cudaEventRecord(start_), "recording an event"); }
    double stop() {
        float milliseconds = 0;
        cuda::check(cudaEventRecord(stop_), "recording an event");
        cuda::check(cudaEventSynchronize(stop_), "waiting for the device");
        cuda::check(cudaEventElapsedTime(&milliseconds, start_, stop_), "reading an event");
        return milliseconds * 1e-3;
    }

   private:
    cudaEvent_t start_, stop_;
};

void assign(State& state, Shape shape, cuda::AssignKernel kernel, bool second) {
    if (cuda::device_count() == 0) {
        state.SkipWithError("no CUDA device");
        return;
    }
    const auto points = normal_halves(shape.batch * shape.n * shape.d);
    const auto centroids = normal_floats(shape.batch * shape.k * shape.d);
    const auto table = cuda::prepare_centroids(
            centroids.get(), shape.batch, shape.k, shape.d, false, Metric::l2, nullptr);
    const auto count = static_cast<size_t>(shape.batch * shape.n);
    const cuda::Buffer<float> best(count, nullptr);
    const cuda::Buffer<float> seconds(count, nullptr);
    const cuda::Buffer<int32_t> ids(count, nullptr);
    cuda::TensorRows rows;
    rows.data = points.get();
    rows.bf16 = false;
    rows.columns = shape.d;
    rows.rows = shape.n;
    rows.batch = shape.batch;
    rows.row_bytes = 2 * shape.d;
    rows.batch_bytes = rows.row_bytes * shape.n;
    const cuda::AssignOutput output{best.get(), second ? seconds.get() : nullptr, ids.get()};
    if (!cuda::can_assign(kernel, rows)) {
        state.SkipWithError("no such kernel for this shape or device");
        return;
    }
    Events events;
    cuda::assign(rows, table, output, nullptr, kernel);
    for (auto _ : state) {
        events.start();
        cuda::assign(rows, table, output, nullptr, kernel);
        state.SetIterationTime(events.stop());
    }
    const auto points_total = static_cast<double>(count);
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

void add(const std::string& name, const Shape& shape, cuda::AssignKernel kernel, bool second) {
    benchmark::RegisterBenchmark(
            (name + "/" + name_of(shape)).c_str(),
            [=](State& state) { assign(state, shape, kernel, second); })
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
        add("assign", shape, cuda::AssignKernel::automatic, false);
    }
    for (const Shape& shape : kShapes) {
        add("assign_second", shape, cuda::AssignKernel::automatic, true);
    }
    for (const Shape& shape : kShapes) {
        if (shape.d <= 256 && shape.k <= 8192) {
            add("assign_generic", shape, cuda::AssignKernel::generic, false);
        }
    }
    benchmark::Initialize(&argc, argv);
    benchmark::RunSpecifiedBenchmarks();
    benchmark::Shutdown();
    return 0;
}
