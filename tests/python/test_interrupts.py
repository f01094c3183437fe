"""Ctrl-C, the number of threads, and children of a process with threads."""

import pytest
from conftest import run_python

# Calls that take minutes; what must be as before when they are stopped is printed behind them.
LONG = {
    "assign": ("faiss_flash.assign(x, x)", "0"),
    "accelerated IVF": ("ivf.add(x)", "ivf.ntotal"),
    "IDMap2": ("mapped.add_with_ids(x, np.arange(len(x)))", "mapped.ntotal + ivf.ntotal"),
    "IndexIVFFlat": ("own.add(x)", "own.ntotal"),
    "add": ("faiss_flash.add(stock, x)", "stock.ntotal"),
    "flat search": ("flat.search(x, 1)", "0"),
    "flat assign": ("flat.assign(x, 1)", "0"),
    "Kmeans.assign": ("kmeans.assign(x)", "0"),
    "kmeans": ("faiss_flash.kmeans(x, 100000)", "0"),
    "Kmeans.train": ("faiss_flash.Kmeans(64, 100000).train(x)", "0"),
    "training": ("empty.train(x)", "empty.quantizer.ntotal"),
}


@pytest.mark.parametrize("name", LONG)
def test_ctrl_c_stops_long_calls(name):
    call, unchanged = LONG[name]
    code = f"""
    import faiss, numpy as np, faiss_flash
    x = np.random.default_rng(0).random((400000, 64), dtype="f4")
    q = faiss.IndexFlatL2(64)
    q.add(x)

    def made(cls):
        index = cls(q, 64, len(x))
        index.is_trained = True
        return index

    stock, own = made(faiss.IndexIVFFlat), made(faiss_flash.IndexIVFFlat)
    ivf = faiss_flash.accelerate(made(faiss.IndexIVFFlat))
    empty = faiss_flash.IndexIVFFlat(faiss.IndexFlatL2(64), 64, 100000)
    mapped = faiss_flash.accelerate(faiss.IndexIDMap2(ivf))
    flat = faiss_flash.IndexFlatL2(64)
    flat.add(x)
    kmeans = faiss_flash.Kmeans(64, len(x))
    kmeans.centroids, kmeans.index = x, faiss.IndexFlatL2(64)
    try:
        print("started", flush=True)
        {call}
    except KeyboardInterrupt:
        print("stopped", {unchanged})
    """
    out, err = run_python(code, interrupt_after=1, timeout=30)[1:]
    assert out.split() == ["stopped", "0"], (out, err)


THREADS = """
import os, faiss, numpy as np, faiss_flash
x = np.random.default_rng(0).random((20000, 64), dtype="f4")
index = faiss.index_factory(64, "IVF50,PQ8np")
faiss.omp_set_num_threads(1)
index.train(x[:2000])
flat = faiss_flash.IndexFlatL2(64)
flat.add(x[:500])
kmeans = faiss_flash.Kmeans(64, 50, niter=2)
calls = [
    lambda: kmeans.train(x),
    lambda: kmeans.assign(x),
    lambda: faiss_flash.Clustering(64, 50).train(x, faiss.IndexFlatL2(64)),
    lambda: faiss_flash.train(faiss.index_factory(64, "OPQ8,IVF50,PQ8np"), x[:3000]),
    lambda: faiss_flash.add(index, x),
    lambda: flat.search(x, 1),
    lambda: flat.assign(x, 1),
]


def threads():
    return len(os.listdir("/proc/self/task"))
"""


def test_the_classes_use_as_many_threads_as_faiss_may():
    """OpenMP's threads stay when their work is done, and can be counted."""
    code = (
        THREADS
        + """
before, set_before = threads(), faiss_flash.num_threads()
for call in calls:
    call()
print(threads() - before, faiss_flash.num_threads() - set_before)
faiss.omp_set_num_threads(5)
kmeans.train(x)
print(threads() - before >= 4)
faiss.omp_set_num_threads(1)
faiss_flash.set_num_threads(3)
kmeans.train(x)
print(faiss_flash.num_threads(), faiss.omp_get_max_threads())
"""
    )
    # A BLAS of pthreads starts its own when it is loaded, or first needed.
    out, err = run_python(code, OPENBLAS_NUM_THREADS="1")[1:]
    shared = out.split()[-2:] == ["3", "3"]  # one OpenMP for both
    assert out.split() == ["0", "0", "True", "3", "3" if shared else "1"], (out, err)


@pytest.mark.parametrize("first, second", [("faiss", "faiss_flash"), ("faiss_flash", "faiss")])
@pytest.mark.parametrize("parent", ["faiss", "engine", "both"])
def test_a_forked_child(first, second, parent):
    """OpenMP's threads are not in a child: what waits for them waits for ever."""
    code = f"""
    import {first}, {second}
    import multiprocessing as mp, numpy as np
    x = np.random.default_rng(0).random((20000, 64), dtype="f4")
    index = faiss.index_factory(64, "IVF50,PQ8np")

    def work(_=None):
        faiss.omp_set_num_threads(1)
        results = [faiss_flash.Kmeans(64, 50, niter=2).train(x)]
        results.append(faiss_flash.kmeans(x, 50, niter=2).objective)
        results.append(faiss_flash.assign(x, x[:100])[1].sum())
        filled = faiss_flash.index_factory(64, "IDMap2,OPQ8,IVF50,PQ8np")
        opq = faiss.downcast_VectorTransform(faiss.downcast_index(filled.index).chain.at(0))
        opq.niter = opq.niter_pq = opq.niter_pq_0 = 2
        filled.train(x[:3000])
        filled.add_with_ids(x, np.arange(len(x)))
        results.append(filled.search(x[:5], 3)[1].sum())
        return [float(result) for result in results]

    if "{parent}" != "faiss":
        faiss_flash.kmeans(x, 50, niter=2)
        faiss_flash.assign(x, x[:100])
    if "{parent}" != "engine":
        faiss.Kmeans(64, 50, niter=2).train(x)
    with mp.get_context("fork").Pool(2) as pool:
        found = pool.map(work, range(3))
    print(found[0] == found[1] == found[2] == work())
    """
    out, err = run_python(code, timeout=100)[1:]
    assert out.strip() == "True", (out, err)


def test_the_engine_in_a_child_that_sets_nothing():
    code = """
    import multiprocessing as mp, numpy as np, faiss_flash
    x = np.random.default_rng(0).random((20000, 64), dtype="f4")

    def work(_=None):
        return faiss_flash.kmeans(x, 50, niter=2).objective + faiss_flash.num_threads()

    faiss_flash.set_num_threads(2)
    work()
    with mp.get_context("fork").Pool(2) as pool:
        found = pool.map(work, range(3))
    print(found == 3 * [work() - 1])
    """
    out, err = run_python(code, timeout=100)[1:]
    assert out.strip() == "True", (out, err)
