/// The classes and functions over FAISS while allocations fail: the engine's, their own and
/// FAISS's.
#include <faiss_flash/Clustering.h>
#include <faiss_flash/IndexFlat.h>
#include <faiss_flash/IndexIVFFlat.h>
#include <faiss_flash/train.h>

#include <allocations/failing_operations.h>
#include <support/data.h>
#include <support/written.h>

#include <faiss/IndexFlat.h>
#include <faiss/IndexPreTransform.h>
#include <faiss/IndexRefine.h>
#include <faiss/VectorTransform.h>
#include <faiss/impl/FaissException.h>
#include <faiss/index_factory.h>
#include <gtest/gtest.h>
#include <omp.h>

#include <cstring>
#include <memory>
#include <numeric>

namespace faiss_flash {
namespace {

using test::Allocated;
using test::Floats;
using test::Operation;
using test::Outcome;
using IndexPointer = std::unique_ptr<faiss::Index>;

constexpr int kDim = 16;
constexpr int64_t kRows = 1000;

const Floats& rows() {
    static const Floats x = test::mixture(kRows, kDim, 20, 1, 0.4f);
    return x;
}

Outcome written(const faiss::Index& index) {
    const auto bytes = test::written(index);
    return {bytes.begin(), bytes.end()};
}

/// While it is true allocations fail: making an index and writing it is not what is tested.
bool changing = false;

/// Runs `change`, of an index or of anything with a state: that is as before where it throws.
template <class State>
Outcome changed(const State& state, const std::function<void()>& change) {
    const Outcome before = state();
    try {
        changing = true;
        change();
        changing = false;
    } catch (...) {
        changing = false;
        test::stop_failing();
        EXPECT_EQ(state(), before);
        throw;
    }
    return state();
}

/// OPQ alternates 50 times else.
void shorten(faiss::Index& index) {
    if (auto* refining = dynamic_cast<faiss::IndexRefine*>(&index)) {
        shorten(*refining->base_index);
    } else if (auto* transforming = dynamic_cast<faiss::IndexPreTransform*>(&index)) {
        if (auto* opq = dynamic_cast<faiss::OPQMatrix*>(transforming->chain.front())) {
            opq->niter = 2;
            opq->niter_pq_0 = 3;
        }
    }
}

IndexPointer made(const char* key) {
    IndexPointer index(faiss::index_factory(kDim, key));
    shorten(*index);
    return index;
}

Outcome trained(const char* key, const std::string& device) {
    const IndexPointer index = made(key);
    return changed(
            [&] { return written(*index); }, [&] { train(*index, kRows, rows().data(), device); });
}

Outcome filled(const faiss::Index& before, const std::string& device, bool named) {
    const IndexPointer index = test::written_and_read(before);
    std::vector<int64_t> ids(kRows);
    std::iota(ids.begin(), ids.end(), 100);
    return changed(
            [&] { return written(*index); },
            [&] { add(*index, kRows, rows().data(), named ? ids.data() : nullptr, device); });
}

Outcome clustered(const std::string& device) {
    Clustering clustering(kDim, 9);
    clustering.niter = 6;
    clustering.device = device;
    faiss::IndexFlatL2 index(kDim);
    index.add(3, rows().data());
    const auto state = [&] {
        Outcome all = written(index);
        all.insert(all.end(), clustering.centroids.begin(), clustering.centroids.end());
        for (const auto& iteration : clustering.iteration_stats) {
            all.push_back(iteration.obj);
        }
        return all;
    };
    return changed(state, [&] { clustering.train(kRows, rows().data(), index); });
}

Outcome searched(const std::string& device) {
    IndexFlatL2 index(kDim);
    index.device = device;
    index.add(9, rows().data());
    std::vector<int64_t> ids(kRows, 77);
    Floats distances(kRows, 7);
    const auto state = [&] {
        Outcome all(ids.begin(), ids.end());
        all.insert(all.end(), distances.begin(), distances.end());
        return all;
    };
    return changed(
            state, [&] { index.search(kRows, rows().data(), 1, distances.data(), ids.data()); });
}

Outcome of_class(const std::string& device) {
    faiss::IndexFlatL2 quantizer(kDim);
    IndexIVFFlat index(&quantizer, kDim, 8);
    index.device = device;
    const auto state = [&] { return written(index); };
    changed(state, [&] { index.train(kRows, rows().data()); });
    return changed(state, [&] { index.add(kRows, rows().data()); });
}

std::vector<Operation> operations(const std::string& device) {
    std::vector<Operation> all{
            {"Clustering", [=] { return clustered(device); }, [] { return clustered("cpu"); }},
            {"IndexFlatL2", [=] { return searched(device); }, [] { return searched("cpu"); }},
            {"IndexIVFFlat", [=] { return of_class(device); }, [] { return of_class("cpu"); }},
    };
    for (const char* key :
         {"IVF8,Flat",
          "IVF8_HNSW4,SQ8",
          "IVF8,PQ4x4np,RFlat",
          "OPQ4,IVF8,PQ4x4fs",
          "PCA8,IVF8,RQ2x3",
          "IMI2x2,Flat",
          "PQ4x4np"}) {
        all.push_back(
                {std::string("train ") + key,
                 [=] { return trained(key, device); },
                 [=] { return trained(key, "cpu"); }});
    }
    for (const char* key :
         {"IVF8,Flat",
          "IDMap2,IVF8,PQ4x4np",
          "IVF8,PQ4x4np,RFlat",
          "IVF8_HNSW4,PQ4+4",
          "IVF8,PQ4x4fs",
          "PCA8,IVF8,SQ8"}) {
        if (device != "cpu" && std::strstr(key, "HNSW")) {
            continue; // the graph finds the lists, FAISS the codes: nothing is asked of the device
        }
        const std::shared_ptr<faiss::Index> index(made(key));
        train(*index, kRows, rows().data(), "cpu");
        const bool named = std::strncmp(key, "IDMap", 5) == 0;
        const std::vector<int64_t> ids(50, 3);
        add(*index, 50, rows().data(), named ? ids.data() : nullptr, "cpu");
        all.push_back(
                {std::string("add ") + key,
                 [=] { return filled(*index, device, named); },
                 [=] { return filled(*index, "cpu", named); }});
    }
    return all;
}

/// But for those in parallel regions, of FAISS: an exception must not leave one, it ends the
/// program.
void fail_all_on(const std::string& device, Allocated kind) {
    const auto all = operations(device);
    test::choose_host_allocations([] { return changing && omp_get_level() == 0; });
    fail_all(all, kind);
    test::choose_host_allocations(nullptr);
}

TEST(PluginAllocation, OfTheHostFailsOnTheCpu) {
    fail_all_on("cpu", Allocated::host);
}

#ifdef FAISS_FLASH_TEST_CUDA

using PluginOnDevice = test::OnDevice;

TEST_P(PluginOnDevice, AllocationFails) {
    fail_all_on("cuda", GetParam());
}

INSTANTIATE_TEST_SUITE_P(
        Kinds,
        PluginOnDevice,
        testing::Values(Allocated::device, Allocated::pinned), // the host's: see above
        test::name_of);

#endif

} // namespace
} // namespace faiss_flash
