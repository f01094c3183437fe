/// The C++ side of the main job: reads .fvecs, trains and builds an IVF-flat index with stock FAISS
/// and with faiss_flash, prints both and writes the latter.
#include <faiss_flash/IndexIVFFlat.h>

#include <faiss/IndexFlat.h>
#include <faiss/IndexIVFFlat.h>
#include <faiss/index_io.h>
#include <CLI/CLI.hpp>

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <fstream>
#include <stdexcept>
#include <string>
#include <unordered_set>
#include <vector>

namespace {

constexpr int kNeighbours = 10;

struct Vectors {
    int64_t n = 0;
    int d = 0;
    std::vector<float> rows; ///< [n x d]
};

/// The .fvecs format: every row is an int32 d and d float32.
Vectors read_fvecs(const std::string& path) {
    std::ifstream file(path, std::ios::binary | std::ios::ate);
    const auto bytes = static_cast<int64_t>(file.tellg());
    Vectors x;
    int32_t d = 0;
    file.seekg(0);
    file.read(reinterpret_cast<char*>(&d), sizeof d);
    const int64_t row_bytes = 4 * (int64_t{d} + 1);
    if (!file || d <= 0 || bytes % row_bytes != 0) {
        throw std::runtime_error(path + " is not an .fvecs file");
    }
    x.d = d;
    x.n = bytes / row_bytes;
    x.rows.resize(static_cast<size_t>(x.n) * static_cast<size_t>(d));
    file.seekg(0);
    for (int64_t i = 0; i < x.n; i++) {
        int32_t row_d = 0;
        file.read(reinterpret_cast<char*>(&row_d), sizeof row_d);
        file.read(reinterpret_cast<char*>(&x.rows[static_cast<size_t>(i * d)]), row_bytes - 4);
        if (!file || row_d != d) {
            throw std::runtime_error(path + ": row " + std::to_string(i) + " is broken");
        }
    }
    return x;
}

double seconds_since(std::chrono::steady_clock::time_point start) {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

std::vector<int64_t> search(const faiss::Index& index, const Vectors& queries) {
    std::vector<int64_t> ids(static_cast<size_t>(queries.n * kNeighbours));
    std::vector<float> distances(ids.size());
    index.search(queries.n, queries.rows.data(), kNeighbours, distances.data(), ids.data());
    return ids;
}

double recall(const std::vector<int64_t>& found, const std::vector<int64_t>& exact) {
    size_t hits = 0;
    for (size_t start = 0; start < exact.size(); start += kNeighbours) {
        const auto first = exact.begin() + static_cast<std::ptrdiff_t>(start);
        const std::unordered_set<int64_t> nearest(first, first + kNeighbours);
        for (size_t j = start; j < start + kNeighbours; j++) {
            hits += nearest.count(found[j]);
        }
    }
    return static_cast<double>(hits) / static_cast<double>(exact.size());
}

struct Input {
    Vectors train, base, queries;
    std::vector<int64_t> exact; ///< [queries.n x 10]
};

/// IndexIVFFlat is faiss's or faiss_flash's: the code is the same.
template <class IndexIVFFlat>
void build(const char* name, const Input& input, size_t nlist, const std::string& path) {
    faiss::IndexFlatL2 quantizer(input.base.d);
    IndexIVFFlat index(&quantizer, static_cast<size_t>(input.base.d), nlist);
    auto start = std::chrono::steady_clock::now();
    index.train(input.train.n, input.train.rows.data());
    const double train_seconds = seconds_since(start);
    start = std::chrono::steady_clock::now();
    index.add(input.base.n, input.base.rows.data());
    const double add_seconds = seconds_since(start);
    std::printf("%-12s train %.2f s, add %.2f s, recall@10", name, train_seconds, add_seconds);
    for (size_t nprobe = 1; nprobe <= 64; nprobe *= 2) {
        index.nprobe = nprobe;
        std::printf(" %.4f", recall(search(index, input.queries), input.exact));
    }
    std::printf("\n");
    index.nprobe = 1;
    if (!path.empty()) {
        faiss::write_index(&index, path.c_str());
    }
}

int run(int argc, char** argv) {
    CLI::App app("Trains and builds an IVF-flat index with FAISS and with faiss_flash");
    std::string data;
    std::string output;
    size_t nlist = 1024;
    app.add_option("data", data, "folder with {base,train,query}.fvecs")->required();
    app.add_option("output", output, "where the index is written")->required();
    app.add_option("--nlist", nlist, "inverted lists")->capture_default_str();
    CLI11_PARSE(app, argc, argv);
    Input input;
    input.train = read_fvecs(data + "/train.fvecs");
    input.base = read_fvecs(data + "/base.fvecs");
    input.queries = read_fvecs(data + "/query.fvecs");
    faiss::IndexFlatL2 exact(input.base.d);
    exact.add(input.base.n, input.base.rows.data());
    input.exact = search(exact, input.queries);
    std::printf("From C++; recall@10 at nprobe 1, 2, 4 ... 64:\n");
    build<faiss::IndexIVFFlat>("faiss", input, nlist, "");
    build<faiss_flash::IndexIVFFlat>("faiss_flash", input, nlist, output);
    return 0;
}

} // namespace

int main(int argc, char** argv) {
    try {
        return run(argc, argv);
    } catch (const std::exception& error) {
        std::fprintf(stderr, "%s\n", error.what());
        return 1;
    }
}
