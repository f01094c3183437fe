"""Coarse quantizers of inverted files: their k-means and their assignments on the engine."""

import faiss
import numpy as np

from . import trace
from .calls import kmeans, nearest_vectors
from .codebooks import trained
from .errors import InvalidArgument
from .options import engine_options, engine_takes
from .parts import engine_metric, quantizer_of, vectors_of

_ALONE = {"": 0, "\x00": 0, "\x01": 1, "\x02": 2}  # a C char


def train_quantizer(ivf, x, service):
    """Fills ivf.quantizer as quantizer_trains_alone and cp say; leaves to faiss what it cannot."""
    quantizer = quantizer_of(ivf)
    if quantizer.is_trained and quantizer.ntotal == ivf.nlist:
        return
    alone = _ALONE.get(ivf.quantizer_trains_alone)
    if alone == 1:
        if isinstance(quantizer, faiss.MultiIndexQuantizer) and not quantizer.is_trained:
            with trained(quantizer.pq, x, service.device):
                quantizer.train(x)
        return
    metric = engine_metric(quantizer) if alone == 0 else "l2"
    own_clustering = ivf.clustering_index is not None or not engine_takes(ivf.cp)
    if alone is None or metric is None or own_clustering:
        trace.left_to_faiss("a clustering or a quantizer that only it has")
        return
    if alone == 2 and not (
        ivf.metric_type == faiss.METRIC_L2
        or (ivf.metric_type == faiss.METRIC_INNER_PRODUCT and ivf.cp.spherical)
    ):
        raise InvalidArgument(
            "quantizer_trains_alone=2 needs metric_type L2, or inner product with cp.spherical"
        )
    options = engine_options(ivf.cp, service)
    centroids = kmeans(x, ivf.nlist, metric=metric, **options).centroids
    if alone == 0:
        quantizer.reset()
    elif not quantizer.is_trained:
        quantizer.train(centroids)
    quantizer.add(centroids)
    quantizer.is_trained = True


def assign_lists(quantizer, x, device):
    """(n,) int64: the list of each row of x; exact where the quantizer is flat."""
    metric = engine_metric(quantizer)
    if metric is None:
        return np.ascontiguousarray(quantizer.assign(x, 1).ravel(), dtype="int64")
    return nearest_vectors(x, vectors_of(quantizer), metric, device)


def residuals_of(quantizer, x, lists):
    """x less the centroid of its list, (n, d)."""
    if engine_metric(quantizer) is not None:
        return x - vectors_of(quantizer)[lists]
    residuals = np.empty_like(x)
    quantizer.compute_residual_n(
        len(x), faiss.swig_ptr(x), faiss.swig_ptr(residuals), faiss.swig_ptr(lists)
    )
    return residuals
