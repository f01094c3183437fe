"""faiss.Clustering on the engine."""

import ctypes

import faiss
import numpy as np

from . import trace
from .arrays import as_weights
from .atomic import keep_vectors, undone_on_error
from .calls import as_finite_floats, kmeans
from .errors import InvalidArgument, InvalidShape
from .gpu_twins import card_of
from .options import engine_options, engine_takes
from .parts import FLAT_INDEXES, GPU_INDEXES, engine_metric, require_index
from .scope import OnEngine, calls_are_faisss

STATS = ("obj", "time", "time_search", "imbalance_factor", "nsplit")  #: FAISS's, in its order


def cluster(cp, k, x, index, weights, initial, service):
    """KMeansResult of checked rows with FAISS's parameters; None where the engine cannot.

    The index says what metric is used, and which card where it is on one; it stays as it is.
    """
    flat = faiss.downcast_index(index)
    metric = engine_metric(flat, FLAT_INDEXES)
    if isinstance(flat, GPU_INDEXES):
        service = service._replace(device=card_of(flat))
    if metric is None or service.device is None or not engine_takes(cp):
        trace.left_to_faiss("an index or an init_method that only it has")
        return None
    options = engine_options(cp, service)
    return kmeans(x, k, weights=weights, init_centroids=initial, metric=metric, **options)


def hold(index, centroids, undo):
    """The index holds the centroids and nothing else; what takes that back is appended to `undo`,
    a list of undone_on_error().
    """
    flat = faiss.downcast_index(index)
    keep_vectors(flat, undo)
    flat.reset()
    flat.add(centroids)


def float_objective(stats):
    """An iteration's objective as FAISS's float holds it: beyond its range an infinity."""
    return ctypes.c_float(stats["obj"]).value


def train_clustering(clustering, service, x, index, weights=None):
    """clustering.train(x, index, weights) by the engine; False, and nothing done, where it cannot.

    A training that fails leaves centroids, iteration_stats and the index as they were.
    """
    x, weights = checked(clustering.d, x, index, weights)
    given = faiss.vector_to_array(clustering.centroids)
    if given.size % clustering.d != 0:
        raise InvalidArgument(
            f"size of provided input centroids ({given.size}) not a multiple of dimension "
            f"(d={clustering.d})"
        )
    initial = given.reshape(-1, clustering.d) if given.size else None
    result = cluster(clustering, clustering.k, x, index, weights, initial, service)
    if result is None:
        return False
    undo = []
    with calls_are_faisss(), undone_on_error(undo):
        _keep_result(clustering, given, undo)
        hold(index, result.centroids, undo)
        faiss.copy_array_to_vector(result.centroids.ravel(), clustering.centroids)
        _append_stats(clustering.iteration_stats, result.iteration_stats)
        decided = sum(stats["decided"] for stats in result.iteration_stats)
        vars(clustering)["decided"] = decided  # of faiss's own class, too
    return True


def _keep_result(clustering, centroids, undo):
    """Appends to `undo` what puts the centroids back and takes later statistics away."""
    all_stats = clustering.iteration_stats
    before = all_stats.size()
    undo.append(lambda: all_stats.resize(before))
    undo.append(lambda: faiss.copy_array_to_vector(centroids, clustering.centroids))


def _append_stats(vector, iterations):
    converted = faiss.ClusteringIterationStats()  # push_back() copies it
    for stats in iterations:
        converted.obj = float_objective(stats)
        for name in STATS[1:]:
            setattr(converted, name, stats[name])
        vector.push_back(converted)


def checked(d, x, index, weights):
    """What train() of a clustering of d columns is given: x and weights as arrays."""
    require_index(index)
    x = as_finite_floats(x, d)
    _check_d(d, "index", index)
    return x, None if weights is None else as_weights(weights, len(x)).ravel()


def _check_d(d, name, index):
    if index.d != d:
        raise InvalidShape(f"{name}.d={index.d} does not match the clustering's d={d}")


class CheckedClustering:
    """What faiss's wrapper of a Clustering asserts, said in words; a base of its subclasses."""

    def train(self, x, index, weights=None):
        """Cluster x (n, d), cast to float32; weights (n,). The index holds the centroids then.

        Raises InvalidArgument, a ValueError, naming the argument for bad input.
        """
        x, weights = checked(self.d, x, index, weights)
        super().train(x, index, weights)

    def train_encoded(self, x, codec, index, weights=None):
        """Cluster rows (n, codec.sa_code_size()) uint8 in the code of an index."""
        x = np.asarray(x)
        size = codec.sa_code_size()
        if x.ndim != 2 or x.shape[1] != size:
            raise InvalidShape(f"x has shape {x.shape}, expected (n, {size})")
        _check_d(self.d, "codec", codec)
        _check_d(self.d, "index", index)
        weights = None if weights is None else as_weights(weights, len(x)).ravel()
        super().train_encoded(x, codec, index, weights)


class Clustering(CheckedClustering, OnEngine, faiss.Clustering):
    """Drop-in for faiss.Clustering.

    The engine runs where the index is a flat one with the L2 or the inner product metric and
    init_method is RANDOM; all else is given to faiss itself. A training that fails leaves
    centroids, iteration_stats and the index as they were.
    """

    decided = 0  #: points of the last training whose centroid float64 decided
