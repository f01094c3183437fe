// Budget: the sums of every part once, 8 bytes each; their total written once.
#include <faiss_flash/cuda/runtime/check.h>
#include <faiss_flash/cuda/update/add_sums.h>

#include <algorithm>

namespace faiss_flash::cuda {

namespace {

constexpr int kThreads = 256;
constexpr size_t kMostParts = 8; // of a launch

struct AddArguments {
    int64_t* parts[kMostParts];
    int64_t kept[kMostParts];
    int count;
    int64_t values;
    bool goes_on; ///< with what the total holds already
    int64_t* total;
};

__global__ void add_kernel(const AddArguments arguments) {
    const int64_t step = int64_t{gridDim.x} * kThreads;
    for (int64_t i = int64_t{blockIdx.x} * kThreads + threadIdx.x; i < arguments.values;
         i += step) {
        int64_t sum = arguments.goes_on ? arguments.total[i] : 0;
        for (int part = 0; part < arguments.count; part++) {
            sum += arguments.parts[part][i];
            if (i >= arguments.kept[part]) {
                arguments.parts[part][i] = 0;
            }
        }
        arguments.total[i] = sum;
    }
}

} // namespace

void add_sums(const std::vector<Sums>& parts, int64_t* total, cudaStream_t stream) {
    for (size_t first = 0; first < parts.size(); first += kMostParts) {
        AddArguments arguments{};
        arguments.count = static_cast<int>(std::min(kMostParts, parts.size() - first));
        for (int i = 0; i < arguments.count; i++) {
            const Sums& part = parts[first + static_cast<size_t>(i)];
            arguments.parts[i] = part.data;
            arguments.kept[i] = part.kept;
        }
        arguments.values = parts.front().count;
        arguments.goes_on = first > 0;
        arguments.total = total;
        const unsigned blocks = std::min(blocks_of(arguments.values, kThreads), 4096u);
        add_kernel<<<blocks, kThreads, 0, stream>>>(arguments);
        check_launch("adding the sums of shards");
    }
}

} // namespace faiss_flash::cuda
