/// How far the cost model's plans are from the best ones: every plan of a grid of shapes, timed.
/// Lines "B n k d second kernel splits ms expected_ms chosen", then a summary.
#include <faiss_flash/cuda/assign/assign.h>
#include <faiss_flash/cuda/device_info.h>
#include <faiss_flash/cuda/runtime/check.h>

#include <gpu_data.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <exception>
#include <vector>

namespace {

using namespace faiss_flash;

constexpr int64_t kColumns[] = {8, 16, 32, 64, 96, 128, 192, 256, 320, 512, 768, 1024};

/// Points and centroids for each d.
constexpr cuda::AssignShape kGrid[] = {
        {1, 1 << 20, 8192, 0, false, 16},
        {1, 1 << 18, 4096, 0, false, 16},
        {1, 100000, 1000, 0, true, 16},
        {1, 4096, 16384, 0, true, 16},
        {1, 37, 50000, 0, false, 16},
        {16, 8192, 256, 0, false, 16},
};

/// Of one call among many that are replayed as a graph: what the device takes, not what the host
/// takes to ask for it.
double milliseconds(
        const bench::AssignProblem& problem,
        const cuda::AssignOutput& output,
        const cuda::AssignPlan& plan,
        double expected_seconds,
        cudaStream_t stream) {
    constexpr double kLong = 5e-3; // seconds
    constexpr int kRuns = 5;
    const int calls = expected_seconds < kLong ? 5 : 1;
    const cuda::AssignShape shape = cuda::shape_of(problem.rows(), problem.table(), output);
    const cuda::Allocated<cuda::AssignWorkspace> workspace(
            stream, [&](cuda::Arena& arena) { return cuda::AssignWorkspace(plan, shape, arena); });
    cudaGraph_t graph{};
    cudaGraphExec_t replay{};
    cuda::check(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal), "capturing");
    for (int i = 0; i < calls; i++) {
        cuda::find_best(problem.rows(), problem.table(), output, *workspace, stream);
    }
    cuda::check(cudaStreamEndCapture(stream, &graph), "capturing");
    cuda::check(cudaGraphInstantiate(&replay, graph, 0), "making a graph");
    bench::Events events(stream);
    std::vector<double> times;
    for (int i = 0; i <= kRuns; i++) {
        events.start();
        cuda::check(cudaGraphLaunch(replay, stream), "launching a graph");
        const double time = events.stop() * 1e3 / calls;
        if (i > 0) {
            times.push_back(time);
        }
    }
    cudaGraphExecDestroy(replay);
    cudaGraphDestroy(graph);
    std::sort(times.begin(), times.end());
    return times[kRuns / 2];
}

int tune() {
    if (cuda::device_count() == 0) {
        std::puts("no CUDA device");
        return 1;
    }
    std::setvbuf(stdout, nullptr, _IOLBF, BUFSIZ);
    static const char* const names[] = {"narrow", "resident", "streamed", "onchip", "generic"};
    cudaStream_t stream{};
    cuda::check(cudaStreamCreate(&stream), "creating a stream");
    double log_sum = 0;
    double worst = 1;
    int count = 0;
    for (const int64_t d : kColumns) {
        for (cuda::AssignShape shape : kGrid) {
            shape.d = d;
            const bench::AssignProblem problem(shape.batch, shape.n, shape.k, d);
            const cuda::AssignOutput output = problem.output(shape.second);
            const cuda::AssignPlan choice = cuda::choose_plan(shape, cuda::device_info());
            double best = HUGE_VAL;
            double chosen = 0;
            for (const cuda::AssignPlan& plan : cuda::assign_plans(shape, cuda::device_info())) {
                const double expected = cuda::expected_seconds(shape, plan, cuda::device_info());
                const double time = milliseconds(problem, output, plan, expected, stream);
                const bool is_choice = plan.kernel == choice.kernel && plan.splits == choice.splits;
                best = std::min(best, time);
                chosen = is_choice ? time : chosen;
                std::printf(
                        "%ld %ld %ld %ld %d %s %d %.4f %.4f %d\n",
                        shape.batch,
                        shape.n,
                        shape.k,
                        d,
                        shape.second,
                        names[static_cast<int>(plan.kernel)],
                        plan.splits,
                        time,
                        expected * 1e3,
                        is_choice);
            }
            log_sum += std::log(chosen / best);
            worst = std::max(worst, chosen / best);
            count++;
        }
    }
    std::printf(
            "%d shapes: chosen plan over the best, geometric mean %.4f, worst %.4f\n",
            count,
            std::exp(log_sum / count),
            worst);
    return 0;
}

} // namespace

int main() {
    try {
        return tune();
    } catch (const std::exception& error) {
        std::fprintf(stderr, "%s\n", error.what());
        return 1;
    }
}
