"""Codebooks of product quantizers: all sub-spaces as one batch of k-means problems."""

from contextlib import contextmanager

import faiss
import numpy as np

from . import trace
from .arrays import as_floats
from .calls import batch_kmeans, check_finite, kmeans
from .options import engine_options, engine_takes
from .scope import Service, calls_are_faisss

_DEFAULT = faiss.ProductQuantizer.Train_default
_HOT_START = faiss.ProductQuantizer.Train_hot_start
_SHARED = faiss.ProductQuantizer.Train_shared


def codebooks_of(pq):
    """(M, ksub, dsub), a copy."""
    return faiss.vector_to_array(pq.centroids).reshape(pq.M, pq.ksub, pq.dsub).copy()


def set_codebooks(pq, codebooks):
    faiss.copy_array_to_vector(np.ascontiguousarray(codebooks, "float32").ravel(), pq.centroids)


def engine_trains(pq):
    """False where faiss itself must train: hypercubes, another assign_index or initialisation."""
    return (
        pq.train_type in (_DEFAULT, _HOT_START, _SHARED)
        and pq.assign_index is None
        and engine_takes(pq.cp)
    )


def train_codebooks(pq, x, device):
    """Codebooks (M, ksub, dsub) of x (n, d): what pq.train(x) would find, by exact assignments."""
    # Also where e-means is asked for: in few columns it does not come to the same objective
    # (bench/NOTES.md), and a GPU runs Lloyd's problems together.
    options = engine_options(pq.cp, Service(device, "lloyd"))
    options["verbose"] = options["verbose"] or pq.verbose
    ksub, dsub = pq.ksub, pq.dsub
    if pq.train_type == _SHARED:
        shared = kmeans(x.reshape(-1, dsub), ksub, **options).centroids
        return np.broadcast_to(shared, (pq.M, ksub, dsub))
    slices = [x[:, m * dsub : (m + 1) * dsub] for m in range(pq.M)]
    initial = list(codebooks_of(pq)) if pq.train_type == _HOT_START else None
    results = batch_kmeans(slices, ksub, init_centroids=initial, **options)
    return np.stack([result.centroids for result in results])


def train_pq(faisss, pq, x, device):
    """pq.train(x), which without the engine is faisss(x)."""
    x = as_floats(x, pq.d)
    check_finite(x, "x")
    with calls_are_faisss(), trained(pq, x, device):
        faisss(x)


@contextmanager
def trained(pq, x, device):
    """Within it, faiss's own training of x keeps the codebooks that the engine has found for x.

    Afterwards the parameters are what they were.
    """
    if not engine_trains(pq):
        trace.left_to_faiss("codebooks that only it trains")
        yield
        return
    train_type, niter = pq.train_type, pq.cp.niter
    set_codebooks(pq, train_codebooks(pq, x, device))
    try:
        pq.train_type, pq.cp.niter = _HOT_START, 0
        yield
    finally:
        pq.train_type, pq.cp.niter = train_type, niter
