"""Training of faiss's inverted files on GPUs, with their k-means on the engine on the same card."""

import faiss
import numpy as np

from . import trace
from .atomic import uninterrupted
from .calls import assign, check_finite, kmeans
from .codebooks import engine_trains, set_codebooks, train_codebooks, trained
from .gpu_twins import (
    GPU_IVF_FLAT,
    GPU_IVF_PQ,
    GPU_IVF_SQ,
    card_of,
    copy_all_but_quantizer,
    untrained_twin,
)
from .options import engine_options, engine_takes
from .parts import FLAT_INDEXES, engine_metric, quantizer_of, vectors_of
from .scope import Service

# Scalar quantizers of GPUs that have nothing to learn.
_FIXED_CODES = (faiss.ScalarQuantizer.QT_fp16, faiss.ScalarQuantizer.QT_8bit_direct)


def train_gpu(index, x, algorithm):
    """What index.train(x) does, with the k-means of its parts on the engine, on the index's card.

    The quantizer is filled first: faiss's own training leaves a full one alone and, given few rows,
    does little but make the lists. cuVS's clusters in any case: its indexes are copied from one of
    the host. Left to faiss as a whole: quantizers that are not flat, initialisations that only
    faiss has, cards that the engine cannot use.
    """
    if index.is_trained:
        index.train(x)  # nothing, or with cuVS centroids that a reset() took
        return
    quantizer = quantizer_of(index)
    metric = engine_metric(quantizer, FLAT_INDEXES)
    device = card_of(index)
    full = quantizer.is_trained and quantizer.ntotal == index.nlist
    codebooks = isinstance(index, GPU_IVF_PQ) and _engine_makes_codebooks(index.pq, len(x))
    by_cuvs = _trained_by_cuvs(index)
    if (
        metric is None
        or device is None
        or not (full or engine_takes(index.cp))
        or (by_cuvs and isinstance(index, GPU_IVF_PQ) and not codebooks)
    ):
        trace.left_to_faiss("a card, a quantizer or a clustering that only it can use")
        index.train(x)
        return
    if not full:
        options = engine_options(index.cp, Service(device, algorithm))
        options["verbose"] = index.verbose
        centroids = kmeans(x, index.nlist, metric=metric, **options).centroids
        quantizer.reset()
        quantizer.add(centroids)
    if codebooks:
        rows = _rows_of_codebooks(index.pq, x)
        residuals = _residuals(rows, quantizer, metric, device)
    if by_cuvs:
        twin = untrained_twin(index)
        twin.quantizer.add(vectors_of(quantizer))
        if codebooks:
            set_codebooks(twin.pq, train_codebooks(twin.pq, residuals, device))
        twin.is_trained = True
        with uninterrupted():
            copy_all_but_quantizer(index, twin)
    elif codebooks:
        with trained(index.pq, residuals, device):
            index.train(rows[: _enough_rows(index.pq)])
    elif isinstance(index, GPU_IVF_FLAT) or _has_fixed_codes(index):
        index.train(x[:1])
    else:
        index.train(x)


def _trained_by_cuvs(index):
    """True where the index may be cuVS's (before 1.10: RAFT's), whose training keeps no centroids.

    An index does not tell. In builds with cuVS it is the default.
    """
    config = faiss.GpuIndexConfig()
    default = getattr(config, "use_cuvs", False) or getattr(config, "use_raft", False)
    return default and not isinstance(index, GPU_IVF_SQ)


def _has_fixed_codes(index):
    return isinstance(index, GPU_IVF_SQ) and index.sq.qtype in _FIXED_CODES


def _most_rows(pq):
    """Of those that faiss trains codebooks on; negative: all."""
    return pq.cp.max_points_per_centroid * pq.ksub


def _engine_makes_codebooks(pq, n):
    """As many rows as centroids are the codebook: faiss would take those it is given instead."""
    most = _most_rows(pq)
    return engine_trains(pq) and (min(n, most) if most >= 0 else n) > pq.ksub


def _rows_of_codebooks(pq, x):
    most = _most_rows(pq)
    if not 0 <= most < len(x):
        return x
    order = np.empty(len(x), dtype="int32")
    faiss.rand_perm(faiss.swig_ptr(order), len(x), pq.cp.seed)
    return x[order[:most]]


def _enough_rows(pq):
    """For faiss's training to keep the codebooks, and not to warn."""
    return max(pq.ksub + 1, pq.ksub * pq.cp.min_points_per_centroid)


def _residuals(rows, quantizer, metric, device):
    centroids = vectors_of(quantizer)  # as it holds them: in float16, perhaps
    lists = assign(rows, centroids, metric, device)[1]
    residuals = rows - centroids[lists]
    check_finite(residuals, "x less its list's centroid")
    return residuals
