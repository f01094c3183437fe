"""The engine as FAISS's classes call it: with as many threads as FAISS may use at that moment.

A wheel of faiss brings an OpenMP of its own, which the engine's does not ask.
"""

from contextlib import contextmanager
from functools import wraps

import faiss

from . import arrays, engine, swig_engine


@contextmanager
def _threads_of_faiss():
    before = swig_engine.num_threads()
    swig_engine.set_num_threads(faiss.omp_get_max_threads())
    try:
        yield
    finally:
        swig_engine.set_num_threads(before)


def _as_faiss(function):
    @wraps(function)
    def with_its_threads(*args, **options):
        with _threads_of_faiss():
            return function(*args, **options)

    return with_its_threads


assign = _as_faiss(engine.assign)
batch_kmeans = _as_faiss(engine.batch_kmeans)
check_finite = _as_faiss(arrays.check_finite)
kmeans = _as_faiss(engine.kmeans)
run_encode = _as_faiss(swig_engine.run_encode)
run_opq = _as_faiss(swig_engine.run_opq)
run_residual_table = _as_faiss(swig_engine.run_residual_table)


def as_finite_floats(x, d, name="x"):
    """x as a contiguous (n, d) float32 array without a NaN or an Inf."""
    x = arrays.as_floats(x, d, name)
    check_finite(x, name)
    return x
