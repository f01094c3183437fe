"""The classes for ann-benchmarks and big-ann-benchmarks, run as these harnesses run them."""

import importlib
import inspect
import itertools
import json
import pathlib
import shutil
import sys

import faiss
import numpy as np
import pytest
from conftest import mixture

h5py = pytest.importorskip("h5py")
yaml = pytest.importorskip("yaml")

CONTRIB = pathlib.Path(__file__).resolve().parents[2] / "contrib"
N, D, QUERIES, TRUE_NEIGHBORS = 10000, 20, 200, 100
NLIST, K = 100, 10
NPROBES = (1, 4, 16)
EPSILON = 1e-3  # of ann-benchmarks' recall
METRICS = ("euclidean", "angular")

BASE = """
class BaseANN:
    def done(self):
        pass

    def get_additional(self):
        return {}
"""


def unit(x):
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def distances(metric, x, v):
    """Of v and the rows of x, in float64, as ann-benchmarks defines them."""
    x, v = x.astype("float64"), v.astype("float64")
    if metric == "angular":
        return 1 - unit(x) @ unit(v)
    return np.linalg.norm(x - v, axis=1)


@pytest.fixture(scope="module", params=METRICS)
def dataset(request, tmp_path_factory):
    """(metric, open HDF5 file) in ann-benchmarks' layout."""
    metric = request.param
    x = mixture(N + QUERIES, D, 300, 5, 0.7)
    # Rows of all lengths: an angular run that forgets to normalise must not pass.
    x *= np.random.default_rng(6).uniform(0.2, 5, size=(len(x), 1)).astype("float32")
    train, test = x[:N], x[N:]
    neighbors, nearest = [], []
    for v in test:
        all_distances = distances(metric, train, v)
        ids = np.argsort(all_distances, kind="stable")[:TRUE_NEIGHBORS]
        neighbors.append(ids)
        nearest.append(all_distances[ids])
    path = tmp_path_factory.mktemp("data") / f"random-xs-{D}-{metric}.hdf5"
    with h5py.File(path, "w") as file:
        file.attrs["type"] = "dense"
        file.attrs["distance"] = metric
        file.attrs["dimension"] = D
        file.attrs["point_type"] = "float"
        file["train"] = train
        file["test"] = test
        file["neighbors"] = np.array(neighbors, dtype="i4")
        file["distances"] = np.array(nearest, dtype="f4")
    with h5py.File(path) as file:
        yield metric, file


def install(root, files):
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, pathlib.Path):
            shutil.copy(content, path)
        else:
            path.write_text(content)


def imported(root, name):
    """The module, imported from root; what was imported with it is forgotten by forget()."""
    sys.path.insert(0, str(root))
    try:
        importlib.invalidate_caches()
        return importlib.import_module(name)
    finally:
        sys.path.remove(str(root))


def forget(package):
    for name in [name for name in sys.modules if name.split(".")[0] == package]:
        del sys.modules[name]


@pytest.fixture(scope="module")
def ann_root(tmp_path_factory):
    root = tmp_path_factory.mktemp("ann")
    ours = CONTRIB / "ann_benchmarks/faiss_flash"
    target = "ann_benchmarks/algorithms/faiss_flash"
    files = {
        "ann_benchmarks/__init__.py": "",
        "ann_benchmarks/algorithms/__init__.py": "",
        "ann_benchmarks/algorithms/base/module.py": BASE,
    }
    for name in ("module.py", "config.yml", "Dockerfile"):
        files[f"{target}/{name}"] = ours / name
    install(root, files)
    return root


@pytest.fixture(scope="module")
def ann(ann_root):
    yield imported(ann_root, "ann_benchmarks.algorithms.faiss_flash.module")
    forget("ann_benchmarks")


class StockIVF:
    """What the class of ours must find as much as."""

    def __init__(self, metric, make_index):
        self.rows = unit if metric == "angular" else lambda x: x
        self.make_index = make_index

    def fit(self, x):
        self.index = self.make_index(x.shape[1])
        self.index.train(self.rows(x))
        self.index.add(self.rows(x))

    def set_query_arguments(self, nprobe):
        self.index.nprobe = nprobe

    def query(self, v, n):
        ids = self.index.search(self.rows(v)[None, :], n)[1][0]
        return ids[ids >= 0]


def stock_flat(d):
    return faiss.IndexIVFFlat(faiss.IndexFlatL2(d), d, NLIST)


def stock_pq(d):
    return faiss.index_factory(d, f"IVF{NLIST},PQ10np")


def recall(metric, file, results, count):
    """ann-benchmarks': a find as near as the count-th true neighbour, plus a little, is right."""
    train, test, true = file["train"][:], file["test"][:], file["distances"][:]
    right = 0
    for v, ids, nearest in zip(test, results, true):
        if len(ids):
            right += (distances(metric, train[ids], v) <= nearest[count - 1] + EPSILON).sum()
    return right / (len(test) * count)


def query_all(algorithm, test, count):
    """The ids of single queries; checks what ann-benchmarks asks of them."""
    results = []
    for v in test:
        before = v.copy()
        ids = np.array(algorithm.query(v, count), dtype="int64")
        np.testing.assert_array_equal(v, before)
        assert len(ids) <= count and len(set(ids)) == len(ids) and (ids >= 0).all()
        results.append(ids)
    return results


@pytest.mark.parametrize(
    "name, args, make_stock",
    [("FaissFlashIVF", [NLIST], stock_flat), ("FaissFlashIVFPQ", [NLIST, 2], stock_pq)],
)
def test_ann_recall_is_stocks(ann, dataset, name, args, make_stock):
    metric, file = dataset
    train, test = file["train"][:], file["test"][:]
    ours, stock = getattr(ann, name)(metric, *args, "cpu"), StockIVF(metric, make_stock)
    for algorithm in (ours, stock):
        before = train.copy()
        algorithm.fit(train)
        np.testing.assert_array_equal(train, before)
    labels, recalls = {str(ours)}, []
    for nprobe in NPROBES:
        found = []
        for algorithm in (ours, stock):
            algorithm.set_query_arguments(nprobe)
            results = query_all(algorithm, test, K)
            found.append(recall(metric, file, results, K))
            if algorithm is ours:
                single = results
                compared = ours.get_additional()["dist_comps"]
        assert found[0] == pytest.approx(found[1], abs=0.02), f"nprobe={nprobe}"
        recalls.append(found[0])

        ours.set_query_arguments(nprobe)
        before = test.copy()
        ours.batch_query(test, K)
        np.testing.assert_array_equal(test, before)
        batch = ours.get_batch_results()
        assert len(batch) == len(test)
        # BLAS, which only searches of many queries use, may swap neighbours about equally far.
        assert recall(metric, file, batch, K) == pytest.approx(found[0], abs=0.002)
        for ids, ids_alone in zip(batch, single):
            assert len(ids) == len(ids_alone) and len(set(ids)) == len(ids) and (ids >= 0).all()

        additional = ours.get_additional()
        assert abs(additional["dist_comps"] - compared) <= 0.01 * compared
        assert compared > len(test) * NLIST
        assert additional["train_time"] > 0 and additional["add_time"] > 0
        assert additional["device"] == "cpu"
        with h5py.File("attributes", "w", driver="core", backing_store=False) as attributes:
            attributes.attrs.update(additional)
        labels.add(str(ours))
    assert recalls == sorted(recalls) and recalls[-1] > recalls[0]
    assert len(labels) == len(NPROBES) + 1
    ours.done()


@pytest.mark.parametrize("metric", METRICS)
def test_ann_short_results(ann, metric):
    """More neighbours asked for than there are in the probed list, or vectors at all."""
    x = mixture(300, D, 30, 1)
    x[7] = 0
    algorithm = ann.FaissFlashIVF(metric, 30, "cpu")
    algorithm.fit(x.astype("float64"))
    algorithm.set_query_arguments(1)
    ids = query_all(algorithm, x[:20], 200)
    assert all(0 < len(one) < 200 for one in ids)
    algorithm.batch_query(x[:20], 200)
    assert [sorted(one) for one in algorithm.get_batch_results()] == [sorted(one) for one in ids]
    algorithm.set_query_arguments(500)
    assert {len(one) for one in query_all(algorithm, x[:20], 400)} == {len(x)}


def test_ann_bad_metric(ann):
    with pytest.raises(NotImplementedError, match="hamming"):
        ann.FaissFlashIVF("hamming", 10)


def test_ann_subquantizers_divide_the_dimension(ann):
    pairs = [(20, 2), (25, 2), (25, 4), (100, 4), (784, 4), (7, 2), (2, 4)]
    assert [ann._subquantizers(d, dims) for d, dims in pairs] == [10, 5, 5, 25, 196, 1, 1]


def test_ann_import_then_fork(ann_root, python):
    """run.py --local imports every module, then forks: CUDA and threads must wait for that."""
    code, out, err = python(
        f"""
        import os, re, sys
        import faiss, numpy

        def threads():
            return int(re.search(r"Threads:\\s*(\\d+)", open("/proc/self/status").read())[1])

        before = threads()
        sys.path.insert(0, {str(ann_root)!r})
        from ann_benchmarks.algorithms.faiss_flash.module import FaissFlashIVF
        assert threads() == before, (threads(), before)
        assert "libcuda" not in open("/proc/self/maps").read()
        child = os.fork()
        if child == 0:
            x = numpy.random.default_rng(1).random((3000, 8), dtype="float32")
            algorithm = FaissFlashIVF("euclidean", 32)
            algorithm.fit(x)
            algorithm.set_query_arguments(32)
            ids = algorithm.query(x[5], 3)
            os._exit(0 if ids[0] == 5 else 1)
        assert os.waitpid(child, 0)[1] == 0
        print("done")
        """
    )
    assert code == 0 and out.strip() == "done", err


def test_ann_config(ann):
    folder = CONTRIB / "ann_benchmarks/faiss_flash"
    assert {path.name for path in folder.iterdir()} >= {"module.py", "config.yml", "Dockerfile"}
    assert not (folder / "__init__.py").exists()
    definitions = yaml.safe_load((folder / "config.yml").read_text())["float"]["any"]
    names = [definition["name"] for definition in definitions]
    assert len(set(names)) == len(names) > 0
    for definition in definitions:
        assert definition["module"] == "ann_benchmarks.algorithms.faiss_flash"
        assert definition["docker_tag"] == "ann-benchmarks-faiss_flash"
        assert definition["base_args"] == ["@metric"]
        # A container has no GPU.
        assert definition["disabled"] == definition["name"].endswith("-gpu")
        constructor = getattr(ann, definition["constructor"])
        for group in definition["run_groups"].values():
            for args in itertools.product(*group["args"]):
                algorithm = constructor("euclidean", *args)
                device = "cuda" if definition["disabled"] else "cpu"
                assert f"device={device})" in str(algorithm)
            for args in itertools.product(*group["query_args"]):
                inspect.signature(constructor.set_query_arguments).bind(None, *args)
                assert all(isinstance(arg, int) for arg in args)


DATASETS_STUB = """
import numpy as np


class Dataset:
    def __init__(self, metric, x):
        self.metric, self.x = metric, x
        self.nb, self.d = x.shape
        self.nq = 0

    def distance(self):
        return self.metric

    def search_type(self):
        return "knn"

    def get_dataset_iterator(self, bs=512, split=(1, 0)):
        for start in range(0, self.nb, bs):
            yield self.x[start : start + bs]


DATASETS = {}
"""


@pytest.fixture
def big(tmp_path, monkeypatch):
    """(the module, DATASETS, Dataset), in a folder of its own that the index files land in."""
    install(
        tmp_path,
        {
            "benchmark/__init__.py": "",
            "benchmark/algorithms/__init__.py": "",
            "benchmark/algorithms/base.py": BASE,
            "benchmark/algorithms/faiss_flash_t3.py": CONTRIB
            / "big_ann_benchmarks/faiss_flash_t3.py",
            "benchmark/datasets.py": DATASETS_STUB,
        },
    )
    monkeypatch.chdir(tmp_path)
    module = imported(tmp_path, "benchmark.algorithms.faiss_flash_t3")
    stub = sys.modules["benchmark.datasets"]
    yield module, stub.DATASETS, stub.Dataset
    forget("benchmark")


def found_by_stock(metric, key, x, test, nprobe):
    kind = faiss.METRIC_L2 if metric == "euclidean" else faiss.METRIC_INNER_PRODUCT
    rows = unit if metric == "angular" else lambda x: x
    index = faiss.index_factory(x.shape[1], key, kind)
    index.train(rows(x))
    index.add(rows(x))
    index.nprobe = nprobe
    return index.search(rows(test), K)[1]


@pytest.mark.parametrize("key", ["IVF100,SQ8", "IVF100,Flat"])
def test_big_recall_is_stocks(big, dataset, key):
    module, datasets, make = big
    metric, file = dataset
    train, test = file["train"][:], file["test"][:]
    datasets["random-xs"] = lambda: make(metric, train)
    params = {"indexkey": key, "device": "cpu", "add_bs": 3000}
    algorithm = module.FaissFlashT3(metric, params)
    assert algorithm.track() == "T3" and not algorithm.load_index("random-xs")
    str(algorithm)  # the harness asks for it before there are query arguments
    algorithm.fit("random-xs")
    additional = algorithm.get_additional()
    assert additional["train_time"] > 0 and additional["add_time"] > 0

    folder, prefix, components = algorithm.index_files_to_store("random-xs")
    for component in components:
        assert pathlib.Path(folder, prefix + component).is_file()
    loaded = module.FaissFlashT3(metric, params)
    assert loaded.load_index("random-xs")
    other = module.FaissFlashT3(metric, {**params, "niter": 3})
    assert not other.load_index("random-xs")

    labels = set()
    for nprobe in NPROBES:
        before = test.copy()
        found = []
        for one in (algorithm, loaded):
            one.set_query_arguments(f"nprobe={nprobe}")
            one.query(test, K)
            np.testing.assert_array_equal(test, before)
            found.append(one.get_results())
            assert one.get_additional()["dist_comps"] > 0
        np.testing.assert_array_equal(found[0], found[1])
        assert found[0].shape == (QUERIES, K) and found[0].dtype.kind == "i"
        ids = [row[row >= 0] for row in found[0]]
        assert all(len(set(row)) == len(row) for row in ids)
        if nprobe > 1:
            assert (found[0] >= 0).all()
        stock = found_by_stock(metric, key, train, test, nprobe)
        assert recall(metric, file, ids, K) == pytest.approx(
            recall(metric, file, [row[row >= 0] for row in stock], K), abs=0.02
        )
        labels.add(str(algorithm))
    assert len(labels) == len(NPROBES)
    loaded.done()


def test_big_range_search(big):
    module, datasets, make = big
    x = mixture(2000, D, 50, 1)
    datasets["range"] = lambda: make("euclidean", x)
    algorithm = module.FaissFlashT3("euclidean", {"indexkey": "IVF20,Flat", "device": "cpu"})
    algorithm.fit("range")
    algorithm.set_query_arguments("nprobe=20")
    algorithm.range_query(x[:10], 6.0)
    lims, found_distances, ids = algorithm.get_range_results()
    assert lims[-1] == len(ids) == len(found_distances)
    for q in range(10):
        true = np.flatnonzero(distances("euclidean", x, x[q]) ** 2 < 6.0)
        np.testing.assert_array_equal(np.sort(ids[lims[q] : lims[q + 1]]), true)


def test_big_bytes_by_inner_product(big):
    """Datasets of bytes, and the metric of text-to-image."""
    module, datasets, make = big
    x = np.random.default_rng(1).integers(0, 256, size=(3000, D)).astype("uint8")
    datasets["bytes"] = lambda: make("ip", x)
    algorithm = module.FaissFlashT3("ip", {"indexkey": "IVF20,Flat", "device": "cpu", "niter": 4})
    algorithm.fit("bytes")
    algorithm.set_query_arguments("nprobe=20")
    algorithm.query(x[:50], 1)
    products = x[:50].astype("int64") @ x.astype("int64").T
    found = products[np.arange(50), algorithm.get_results()[:, 0]]
    np.testing.assert_array_equal(found, products.max(axis=1))


def test_big_algos(big):
    module = big[0]
    content = yaml.safe_load((CONTRIB / "big_ann_benchmarks/algos.yaml").read_text())
    names = [name for algorithms in content.values() for name in algorithms]
    assert set(content) == {"random-xs", "any"} and len(set(names)) == len(names)
    for algorithm in itertools.chain(*(algorithms.values() for algorithms in content.values())):
        assert algorithm["module"] == "benchmark.algorithms.faiss_flash_t3"
        assert algorithm["docker-tag"] and algorithm["base-args"] == ["@metric"]
        constructor = getattr(module, algorithm["constructor"])
        keys = []
        for group in algorithm["run-groups"].values():
            for params in json.loads(group["args"]):
                constructor("euclidean", params)
                keys.append(params["indexkey"])
            for args in json.loads(group["query-args"]):
                inspect.signature(constructor.set_query_arguments).bind(None, args)
                assert args.startswith("nprobe=")
        assert len(set(keys)) == len(keys)
