"""The engine as FAISS's classes call it: with as many threads as FAISS may use at that moment, and
ended by FAISS's InterruptCallback, such as a TimeoutCallback.

A wheel of faiss brings an OpenMP of its own, which the engine's does not ask.
"""

from contextlib import contextmanager
from functools import wraps

import faiss

from . import arrays, engine, swig_engine, trace


@contextmanager
def _like_faiss():
    threads = swig_engine.num_threads()
    swig_engine.set_num_threads(faiss.omp_get_max_threads())
    poll = swig_engine.set_poll(faiss.InterruptCallback.check)
    try:
        yield
    finally:
        swig_engine.set_poll(poll)
        swig_engine.set_num_threads(threads)


def _as_faiss(function, name=None):
    """name: what a trace calls it, if it is worth a word."""

    @wraps(function)
    def called_like_faiss(*args, **options):
        if name:
            trace.ran(name)
        with _like_faiss():
            return function(*args, **options)

    return called_like_faiss


assign = _as_faiss(engine.assign, "assignment")
assign_to_vectors = _as_faiss(engine.assign_to_vectors, "assignment")
nearest_vectors = _as_faiss(engine.nearest_vectors, "assignment")
batch_kmeans = _as_faiss(engine.batch_kmeans, "k-means of codebooks")
check_finite = _as_faiss(arrays.check_finite)
run_encode = _as_faiss(swig_engine.run_encode, "codes")
run_opq = _as_faiss(swig_engine.run_opq, "OPQ")
run_residual_table = _as_faiss(swig_engine.run_residual_table, "precomputed table")
# A trace tells the two apart.
_lloyd = _as_faiss(engine.kmeans, "k-means")
_e_means = _as_faiss(engine.kmeans, "e-means")


def kmeans(x, k, *, algorithm, **options):
    run = _e_means if algorithm == "e_means" else _lloyd
    return run(x, k, algorithm=algorithm, **options)


def as_finite_floats(x, d, name="x"):
    """x as a contiguous (n, d) float32 array without a NaN or an Inf."""
    x = arrays.as_floats(x, d, name)
    check_finite(x, name)
    return x
