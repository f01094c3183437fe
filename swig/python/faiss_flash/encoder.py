"""Codes and precomputed tables of an IndexIVFPQ, by the engine; faiss's but for rounding."""

from contextlib import contextmanager

import faiss
import numpy as np

from . import swig_engine
from .arrays import view_of
from .calls import run_encode, run_residual_table
from .codebooks import codebooks_of
from .options import FAISS_VERSION
from .parts import engine_metric, quantizer_of, vectors_of


def _encoder(codebooks, centroids=None):
    """The engine's view of both arrays, which must outlive it."""
    encoder = swig_engine.Encoder()
    encoder.codebooks = codebooks.ctypes.data
    encoder.subspaces, encoder.ksub, encoder.dsub = codebooks.shape
    if centroids is not None:
        encoder.centroids, encoder.nlist = centroids.ctypes.data, len(centroids)
    return encoder


def reconstructed(pq, x, device):
    """x (n, d) after encoding with the codebooks of pq, and decoding."""
    books = codebooks_of(pq)
    codes = np.empty((len(x), pq.M), dtype="uint8")
    run_encode(_encoder(books), view_of(x), 0, codes.ctypes.data, pq.M, device)
    parts = [book[codes[:, m]] for m, book in enumerate(books)]
    return np.concatenate(parts, axis=1)


def encodes(ivf):
    """True where add_sa_codes() of codes_of() does what add_core() does."""
    return (
        isinstance(ivf, faiss.IndexIVFPQ)
        and not isinstance(ivf, faiss.IndexIVFPQR)
        and ivf.pq.nbits == 8
        and FAISS_VERSION >= (1, 12)
        and engine_metric(quantizer_of(ivf)) is not None
    )


def codes_of(ivf, x, lists, device):
    """What ivf.sa_encode(x) makes of rows x (n, d) that are of these lists (n,)."""
    books = codebooks_of(ivf.pq)
    centroids = vectors_of(quantizer_of(ivf)) if ivf.by_residual else None
    prefix = ivf.coarse_code_size()
    codes = np.empty((len(x), prefix + ivf.code_size), dtype="uint8")
    codes[:, :prefix] = lists.astype("<i8").view("uint8").reshape(-1, 8)[:, :prefix]
    run_encode(
        _encoder(books, centroids),
        view_of(x),
        lists.ctypes.data,
        codes.ctypes.data + prefix,
        codes.shape[1],
        device,
    )
    return codes


@contextmanager
def table_made_after(ivf):
    """Within it faiss makes no precomputed table; then the engine does, where faiss would."""
    if not _gets_table(ivf):
        yield
        return
    ivf.use_precomputed_table = -1  # none
    yield
    books, centroids = codebooks_of(ivf.pq), vectors_of(quantizer_of(ivf))
    table = ivf.precomputed_table
    table.resize(len(centroids) * ivf.pq.M * ivf.pq.ksub)
    run_residual_table(_encoder(books, centroids), int(table.data()))
    ivf.use_precomputed_table = 1


def _gets_table(ivf):
    """FAISS's rule for a table of all lists, which it finds where use_precomputed_table is 0."""
    return (
        isinstance(ivf, faiss.IndexIVFPQ)
        and ivf.use_precomputed_table == 0
        and ivf.by_residual
        and ivf.pq.nbits <= 8
        and ivf.quantizer.metric_type == faiss.METRIC_L2
        and engine_metric(quantizer_of(ivf)) is not None
        and 4 * ivf.nlist * ivf.pq.M * ivf.pq.ksub <= faiss.cvar.precomputed_table_max_bytes
    )
