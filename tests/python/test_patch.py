"""patch(): faiss's own classes on the engine, with faiss's own types."""

import copy
import multiprocessing
import os
import pickle
import threading
import warnings

import faiss
import numpy as np
import pytest
from conftest import mixture

import faiss_flash
from faiss_flash import methods

N, D = 4000, 32
ROWS = mixture(N, D, 40, 1)
KEYS = (
    "IVF20,Flat",
    "IVF20,SQ8",
    "IVF20,PQ8x4np",
    "IVF20,PQ8x4fs",
    "IVF20_HNSW8,Flat",
    "IMI2x3,Flat",
    "PQ8x4np",
    "PQ8x4fs",
    "OPQ8,IVF20,PQ8x4np",
    "PCA16,IVF20,Flat",
    "IDMap2,IVF20,Flat",
    "IVF20,Flat,RFlat",
    "Flat",
)


@pytest.fixture(autouse=True)
def nothing_stays_patched():
    yield
    assert not methods.service_of(faiss.IndexFlatL2(3))


@pytest.fixture
def calls(monkeypatch):
    """The names of what the engine runs."""
    names = []
    monkeypatch.setattr("faiss_flash.trace.ran", names.append)
    return names


def content(index):
    return faiss.serialize_index(index).tobytes()


def build(index):
    index.train(ROWS)
    if index.__class__.__name__.startswith("IndexIDMap"):
        index.add_with_ids(ROWS, np.arange(N) + 5)
    else:
        index.add(ROWS)
    return index


@pytest.mark.parametrize("key", KEYS)
def test_patched_builds_what_accelerate_builds(key):
    expected = content(build(faiss_flash.index_factory(D, key)))
    stock = build(faiss.index_factory(D, key))
    with faiss_flash.patch():
        index = faiss.index_factory(D, key)
        build(index)
    assert type(index) is type(stock) and content(index) == expected


@pytest.mark.parametrize(
    "wrap",
    [
        faiss.IndexIDMap,
        faiss.IndexIDMap2,
        faiss.IndexRefineFlat,
        lambda ivf: faiss.IndexPreTransform(faiss.RandomRotationMatrix(D, D), ivf),
        lambda ivf: faiss.IndexIDMap(faiss.IndexPreTransform(faiss.PCAMatrix(D, D), ivf)),
    ],
    ids=["IDMap", "IDMap2", "RefineFlat", "PreTransform", "IDMap of PreTransform"],
)
@pytest.mark.parametrize("made", ["class", "accelerated"])
def test_what_holds_an_index_of_ours_trains_through_the_engine(wrap, made, calls):
    quantizer = faiss.IndexFlatL2(D)
    if made == "class":
        index = wrap(faiss_flash.IndexIVFFlat(quantizer, D, 20))
    else:
        index = wrap(faiss_flash.accelerate(faiss.IndexIVFFlat(quantizer, D, 20)))
    index.train(ROWS)
    assert calls == ["k-means"] and quantizer.ntotal == 20
    stock = wrap(faiss.IndexIVFFlat(faiss.IndexFlatL2(D), D, 20))
    stock.train(ROWS)
    assert calls == ["k-means"]


def test_parts_of_their_own(calls):
    with faiss_flash.patch():
        faiss.Kmeans(D, 5, niter=3).train(ROWS)
        faiss.Clustering(D, 5).train(ROWS, faiss.IndexFlatL2(D))
        faiss.ProductQuantizer(D, 4, 4).train(ROWS)
        opq = faiss.OPQMatrix(D, 4)
        opq.niter = 2
        opq.train(ROWS)
        assert calls == ["k-means", "k-means", "k-means of codebooks", "OPQ"]
    faiss.Kmeans(D, 5, niter=3).train(ROWS)
    assert len(calls) == 4


def test_results_of_parts_are_those_of_our_classes():
    ours = faiss_flash.Kmeans(D, 7, niter=4, seed=3)
    objective = ours.train(ROWS, weights=np.arange(N) + 1.0)
    with faiss_flash.patch("cpu"):
        patched = faiss.Kmeans(D, 7, niter=4, seed=3)
        assert patched.train(ROWS, weights=np.arange(N) + 1.0) == objective
    np.testing.assert_array_equal(ours.centroids, patched.centroids)
    assert type(patched) is faiss.Kmeans and len(patched.iteration_stats) == 4


def test_patches_nest_and_are_taken_back():
    def device():
        service = methods.service_of(faiss.IndexFlatL2(3))
        return service and service.device

    faiss_flash.unpatch()  # of nothing
    with faiss_flash.patch("cpu"):
        faiss_flash.patch()
        assert device() == "auto"
        with faiss_flash.patch("cuda:1") as inner:
            assert device() == "cuda:1"
        assert inner.service.device == "cuda:1" and device() == "auto"
        faiss_flash.unpatch()
        assert device() == "cpu"
    assert device() is None
    with faiss_flash.patch():
        faiss_flash.unpatch()
        assert device() is None


def test_threads_that_patch_and_unpatch():
    expected = {
        content(build(make(D, "IVF20,Flat")))
        for make in (faiss.index_factory, faiss_flash.index_factory)
    }
    found, errors = set(), []

    def work(seed):
        try:
            for i in range(8):
                if (seed + i) % 3:
                    with faiss_flash.patch():
                        found.add(content(build(faiss.index_factory(D, "IVF20,Flat"))))
                else:
                    found.add(content(build(faiss.index_factory(D, "IVF20,Flat"))))
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors and found <= expected


COPIES = {
    "deepcopy": copy.deepcopy,
    "pickle": lambda index: pickle.loads(pickle.dumps(index)),
    "clone": faiss.clone_index,
    "file": lambda index: faiss.deserialize_index(faiss.serialize_index(index)),
}


@pytest.mark.parametrize("key", [*KEYS, "class"])
@pytest.mark.parametrize("copied", COPIES.values(), ids=COPIES)
def test_copies_are_ordinary_indexes(key, copied):
    quantizer = faiss.IndexFlatL2(D)
    if key == "class":
        index, stock = (
            faiss_flash.IndexIVFFlat(quantizer, D, 20),
            faiss.IndexIVFFlat(quantizer, D, 20),
        )
    else:
        index, stock = faiss_flash.index_factory(D, key), faiss.index_factory(D, key)
        assert type(index) is type(stock)
    build(index)
    try:
        stock_copy = copied(stock)
    except RuntimeError as error:  # of faiss 1.7.3
        pytest.skip(str(error))
    other = copied(index)
    assert type(other) is type(stock_copy)
    np.testing.assert_array_equal(other.search(ROWS[:9], 3)[1], index.search(ROWS[:9], 3)[1])
    assert methods.service_of(other) is None


def searched(index):
    faiss.omp_set_num_threads(1)  # OpenMP's threads are not there after a fork
    return index.search(ROWS[:5], 3)[1]


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_indexes_go_to_other_processes(method):
    index = build(faiss_flash.index_factory(D, "IDMap2,IVF20,PQ8x4np"))
    with multiprocessing.get_context(method).Pool(1) as pool:
        there = pool.apply(searched, (index,))
    np.testing.assert_array_equal(there, searched(index))


@pytest.mark.parametrize("backend", ["loky", "threading"])
def test_indexes_go_to_joblib(backend):
    joblib = pytest.importorskip("joblib")
    index = build(faiss_flash.index_factory(D, "OPQ8,IVF20,PQ8x4np"))
    found = joblib.Parallel(2, backend=backend)(joblib.delayed(searched)(index) for _ in range(2))
    np.testing.assert_array_equal(found, [searched(index)] * 2)


@pytest.mark.parametrize("how", ["patched", "class"])
def test_no_iteration_gives_the_initial_centroids(how):
    stock = faiss.Kmeans(D, 9, niter=0, seed=5)
    stock.train(ROWS)
    if how == "class":
        ours = faiss_flash.Kmeans(D, 9, niter=0, seed=5)
        assert ours.train(ROWS) == 0
    else:
        with faiss_flash.patch():
            ours = faiss.Kmeans(D, 9, niter=0, seed=5)
            assert ours.train(ROWS) == 0
    np.testing.assert_array_equal(ours.centroids, stock.centroids)
    assert ours.obj.size == 0 and ours.index.ntotal == 9


@pytest.mark.skipif(not hasattr(faiss, "TimeoutGuard"), reason="not in this faiss")
def test_a_timeout_of_faiss_ends_the_engine():
    x = np.random.default_rng(1).random((20000, 64), dtype="float32")
    index = faiss.IndexFlatL2(64)
    clustering = faiss.Clustering(64, 2000)
    stopped = pytest.raises(RuntimeError, match="computation interrupted")
    with faiss_flash.patch(), stopped, faiss.TimeoutGuard(1e-9):
        clustering.train(x, index)
    assert index.ntotal == 0 and clustering.centroids.size() == 0


def test_methods_with_unknown_parameters_are_left_with_one_warning(monkeypatch):
    def train(self, rows, mode):
        self.trained_by_its_own = mode

    class IndexNew(faiss.IndexIVFFlat):
        pass

    IndexNew.train = train
    monkeypatch.setattr(faiss, "IndexNew", IndexNew, raising=False)
    with pytest.warns(UserWarning, match="IndexNew.train has parameters"):
        methods.install()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        methods.install()
    assert IndexNew.train is train


def test_torch_utils_loaded_before_and_after(python):
    pytest.importorskip("torch")
    code = """
    import numpy as np, torch, faiss
    if {before}:
        import faiss.contrib.torch_utils
    import faiss_flash
    faiss_flash.patch()
    if not {before}:
        import faiss.contrib.torch_utils
    x = np.random.default_rng(1).random((4000, 32), dtype="float32")
    built = []
    for rows in (x, torch.from_numpy(x)):
        index = faiss.index_factory(32, "IVF20,Flat")
        index.train(rows)
        index.add(rows)
        built.append(index.search(rows[:50], 5)[1])
    assert (np.asarray(built[0]) == np.asarray(built[1])).mean() > 0.99
    faiss_flash.unpatch()
    index.add(torch.from_numpy(x))
    print(index.ntotal)
    """
    for before in (True, False):
        status, out, err = python(code.format(before=before))
        assert (status, out.strip()) == (0, "8000"), err


SCRIPT = """
import sys
import faiss, numpy as np
if __name__ == "__main__":
    x = np.random.default_rng(1).random((4000, 32), dtype="float32")
    index = faiss.index_factory(32, "IDMap2,IVF20,PQ8x4np")
    index.train(x)
    index.add_with_ids(x, np.arange(4000))
    faiss.IndexFlatL2(32).add(x)
    print(sys.argv, __name__, type(index).__name__)
"""


@pytest.mark.parametrize("form", ["script", "module"])
def test_an_unchanged_program(form, tmp_path, python):
    (tmp_path / "program.py").write_text(SCRIPT)
    call = ["-m", "program"] if form == "module" else [str(tmp_path / "program.py")]
    code = f"""
    import subprocess, sys
    sys.exit(subprocess.run([sys.executable, "-m", "faiss_flash", *{call}, "-x", "1"]).returncode)
    """
    path = os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])])
    status, out, err = python(code, FAISS_FLASH_TRACE="1", PYTHONPATH=path)
    assert status == 0, err
    assert out.split("] ")[1].strip() == "__main__ IndexIDMap2" and "'-x', '1'" in out
    trace = [line for line in err.splitlines() if line.startswith("faiss_flash: ")]
    assert "IndexIDMap2.train(4000 x 32)" in trace[0] and "k-means" in trace[0]
    assert "IndexIDMap2.add_with_ids(4000 x 32)" in trace[1]
    assert "IndexFlatL2.add(4000 x 32)" in trace[2] and "faiss: " in trace[2]


def test_a_program_finds_its_main_module_to_the_end(tmp_path, python):
    (tmp_path / "late.py").write_text(
        """
import atexit, os, pickle, threading
class Own: pass
def late(name):
    print(name, type(pickle.loads(pickle.dumps(Own()))) is Own, os.path.isabs(__file__))
def wait():
    threading.main_thread().join()
    late("thread")
threading.Thread(target=wait).start()
atexit.register(late, "atexit")
os.chdir("/")
"""
    )
    code = f"""
    import os, subprocess, sys
    os.chdir({str(tmp_path)!r})
    for call in (["late.py"], ["-m", "late"]):
        done = subprocess.run([sys.executable, "-m", "faiss_flash", *call])
        assert done.returncode == 0
    missing = subprocess.run([sys.executable, "-m", "faiss_flash", "none.py"])
    sys.exit(missing.returncode)
    """
    status, out, err = python(code)
    assert status == 2 and "can't open file" in err
    assert out.split("\n")[:4] == ["thread True True", "atexit True True"] * 2


def test_a_patch_entered_again_is_in_force_again():
    patched = faiss_flash.patch()
    for _ in range(2):
        with patched:
            assert methods.service_of(faiss.IndexFlatL2(3))
        assert not methods.service_of(faiss.IndexFlatL2(3))


def test_negative_sizes_are_named():
    with faiss_flash.patch(), pytest.raises(ValueError, match="^k="):
        faiss.Kmeans(D, -1).train(ROWS)


def test_a_trace_says_why_not(python):
    code = """
    import numpy as np, faiss, faiss_flash
    x = np.random.default_rng(1).random((3000, 32), dtype="float32")
    index = faiss.index_factory(32, "IVF20,Flat")
    other = faiss.IndexFlatL2(32)
    index.clustering_index = other
    with faiss_flash.patch():
        index.train(x)
        index.add(x[:1])
    """
    status, _, err = python(code, FAISS_FLASH_TRACE="1")
    lines = [line for line in err.splitlines() if line.startswith("faiss_flash: ")]
    assert status == 0 and len(lines) == 2, err
    assert "faiss: a clustering or a quantizer that only it has" in lines[0]
    assert "faiss: few rows" in lines[1] and "engine" not in lines[1]


@pytest.mark.parametrize("arguments", ["", "-m", "-x", "missing.py"])
def test_a_program_that_there_is_not(arguments, python):
    code = f"""
    import subprocess, sys
    call = [sys.executable, "-m", "faiss_flash", *{arguments.split()}]
    sys.exit(subprocess.run(call).returncode)
    """
    status, out, err = python(code)
    assert status != 0 and ("usage: " in err or "missing.py" in err)


@pytest.mark.parametrize("key", ["IVF20,Flat", "IVF20,PQ8x4np", "IDMap2,IVF20,Flat"])
@pytest.mark.skipif(not methods._takes_nan(), reason="this faiss may crash on a NaN")
def test_rows_with_a_nan_are_added_as_faiss_adds_them(key):
    index = faiss.index_factory(D, key)
    index.train(ROWS)
    same = faiss.clone_index(index)
    bad = ROWS.copy()
    bad[N // 2, 3] = np.nan

    def fill(target):
        target.add_with_ids(bad, np.arange(N)) if key.startswith("IDMap") else target.add(bad)

    fill(index)
    with faiss_flash.patch():
        fill(same)
    assert same.ntotal == N and content(same) == content(index)
    if key == "IVF20,Flat":  # what is served at all times is checked
        with pytest.raises(ValueError, match=rf"^x\[{N // 2}\]\[3\] is not finite"):
            faiss_flash.accelerate(same).add(bad)
